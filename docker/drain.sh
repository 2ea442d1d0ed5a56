#!/bin/sh
# For the preStop hook of a sidecar: has Envoy send its clients elsewhere from now on, while it
# goes on serving, by whatever the image has: wget, or bash, which can open a connection by
# itself. A stop drains by itself; but a sidecar is told to stop when its application has
# ended, and nothing that is asked then has an answer.

set -u

: "${HOT_RESTARTER_ENVOY_ADMIN:?must say where the admin of Envoy is, as HOST:PORT}"

case $HOT_RESTARTER_ENVOY_ADMIN in
unix:*)
    echo "drain.sh: the admin must be at HOST:PORT, not at $HOT_RESTARTER_ENVOY_ADMIN" >&2
    exit 1
    ;;
esac

# An admin that hangs does not keep the hook. (busybox's own `wget -T` needs what a static one
# may lack.)
post() {
    if command -v wget >/dev/null; then
        timeout 2 wget -q -O /dev/null --post-data= "http://$HOT_RESTARTER_ENVOY_ADMIN$1"
        return
    fi
    # shellcheck disable=SC2016 # It is bash that is to expand it.
    timeout 2 bash -c '
        exec 3<>"/dev/tcp/${0%:*}/${0##*:}" || exit 1
        printf "POST $1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" >&3
        read -r _ status _ <&3 && [ "$status" = 200 ]
    ' "$HOT_RESTARTER_ENVOY_ADMIN" "$1"
}

# More than once, for a hot restart under way silences the admin for a moment, and brings an
# epoch that knows nothing of it. To be told again changes nothing.
for _ in 1 2 3 4 5; do
    post /healthcheck/fail && post "/drain_listeners?graceful&skip_exit"
    told=$?
    sleep 1
done
exit "$told"
