#!/bin/sh
# What monit starts must leave the foreground by itself, which hot-restarter never does.
#
# Each HOT_RESTARTER_ variable is an option.

# A restart that is bad must not end the service, and none may cut the drain of the one before it.
export HOT_RESTARTER_ROLLBACK=1
export HOT_RESTARTER_MAX_EPOCHS=2
export HOT_RESTARTER_CHECK="start_envoy.sh --mode validate -l warning"
export HOT_RESTARTER_TERM_WAIT=30
export HOT_RESTARTER_ENVOY_ADMIN=127.0.0.1:9901
export HOT_RESTARTER_DRAIN_TIMEOUT=25 # At most TERM_WAIT - 5; 0 is no drain.

# monit gives its programs a PATH of its own.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

setsid hot-restarter start_envoy.sh </dev/null >>"${ENVOY_LOG:=/var/log/envoy/hot-restarter.log}" 2>&1 &
