#!/bin/sh
# A supervisor that breaks promises: it passes nothing on, starts whenever it is told to, says
# nothing, and leaves everybody behind. Whoever holds the real one against them must find that.
while [ "${1##*/}" != target ]; do shift; done
epoch=0
start() {
    RESTART_EPOCH=$epoch "$@" &
    epoch=$((epoch + 1))
}
trap 'start "$@"' HUP
trap 'exit 0' TERM INT
trap : USR1 USR2 ALRM IO VTALRM PROF WINCH URG QUIT
start "$@"
while :; do wait; done
