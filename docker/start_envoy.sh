#!/bin/sh
# Starts one epoch of Envoy; hot-restarter runs it again, with RESTART_EPOCH one
# higher, for each hot restart. Arguments are passed on to Envoy.
#
# Every epoch must get the same base id and at least as many worker threads as the
# one before it, so both are pinned here and never left to Envoy's own guess.

set -u

: "${RESTART_EPOCH:=0}"
: "${ENVOY_CONFIG:=/etc/envoy/envoy.yaml}"
: "${ENVOY_CONCURRENCY:=4}"
: "${ENVOY_DRAIN_TIME_S:=45}"            # Clients are told to go within this time,
: "${ENVOY_PARENT_SHUTDOWN_TIME_S:=60}"  # and cut off after this one.
: "${ENVOY_BASE_ID:=0}"
: "${ENVOY_DYNAMIC_BASE_ID:=0}"          # 1: Envoy picks a free base id at epoch 0.
: "${ENVOY_BASE_ID_PATH:=/tmp/envoy-base-id}"
: "${ENVOY_MAX_OPEN_FILES:=102400}"      # 0 leaves a limit as it is.
: "${ENVOY_MAX_INOTIFY_WATCHES:=524288}"

# The first line of a file; Envoy ends its own without a newline, and `read` then
# reports the end of the file although it has read the line.
first_line() {
    line=
    read -r line <"$1" || [ -n "$line" ] || return 1
    printf '%s\n' "$line"
} 2>/dev/null

# Limits are only ever raised, and where a container forbids that (no capability, a
# read-only /proc/sys) Envoy starts with what there is.
raise_open_files() {
    # shellcheck disable=SC3045 # POSIX does not name -S and -H, yet every sh has them.
    soft=$(ulimit -S -n) hard=$(ulimit -H -n)
    [ "$soft" != unlimited ] && [ "$soft" -lt "$1" ] || return 0
    # shellcheck disable=SC3045
    ulimit -S -n "$1" || ulimit -n "$1" || ulimit -S -n "$hard" || :
} 2>/dev/null

raise_inotify_watches() {
    file=/proc/sys/fs/inotify/max_user_watches
    now=$(first_line "$file") && [ "$now" -lt "$1" ] || return 0
    { echo "$1" >"$file"; } 2>/dev/null || :
}

raise_open_files "$ENVOY_MAX_OPEN_FILES"
raise_inotify_watches "$ENVOY_MAX_INOTIFY_WATCHES"

if [ "$ENVOY_DYNAMIC_BASE_ID" != 1 ]; then
    set -- --base-id "$ENVOY_BASE_ID" "$@"
elif [ "$RESTART_EPOCH" -eq 0 ]; then
    set -- --use-dynamic-base-id --base-id-path "$ENVOY_BASE_ID_PATH" "$@"
elif base_id=$(first_line "$ENVOY_BASE_ID_PATH"); then
    set -- --base-id "$base_id" "$@"
else
    echo "start_envoy.sh: epoch $RESTART_EPOCH finds no base id in" \
        "$ENVOY_BASE_ID_PATH, where epoch 0 should have left it" >&2
    exit 1
fi

exec envoy \
    --config-path "$ENVOY_CONFIG" \
    --restart-epoch "$RESTART_EPOCH" \
    --concurrency "$ENVOY_CONCURRENCY" \
    --drain-time-s "$ENVOY_DRAIN_TIME_S" \
    --parent-shutdown-time-s "$ENVOY_PARENT_SHUTDOWN_TIME_S" \
    "$@"
