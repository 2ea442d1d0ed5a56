#!/bin/sh
# For Docker's HEALTHCHECK: exits with 0 while Envoy answers /healthz with 200, by whatever
# the image has: wget, or bash, which can open a connection by itself. It asks a listener,
# never the admin, which is silent for a moment in each hot restart.

set -u

: "${ENVOY_HEALTH_PORT:=10000}"  # The port of a listener that answers /healthz.

# How long it may take is the HEALTHCHECK's --timeout.
if command -v wget >/dev/null; then
    exec wget -q -O /dev/null "http://127.0.0.1:$ENVOY_HEALTH_PORT/healthz"
fi

# shellcheck disable=SC2016 # It is bash that is to expand it.
exec bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$0" || exit 1
    printf "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" >&3
    read -r _ status _ <&3 && [ "$status" = 200 ]
' "$ENVOY_HEALTH_PORT"
