#!/usr/bin/env python3
"""Makes the mistakes that check.py is there for, one at a time, and sees that it finds each."""

import sys
from collections.abc import Callable

from arrangement import NAMES, Arrangement
from check import faults, listeners

import yaml


def main() -> None:
    good = {name: Arrangement.render(name) for name in NAMES}
    missed = []
    for name, words, make in MISTAKES:
        bad = good[name].copy()
        make(bad)
        found = list(faults(bad))
        if not any(words in fault for fault in found):
            missed.append(f"{name}: nothing says {words!r}: {found}")
    print(f"{len(MISTAKES)} mistakes")
    sys.exit("\n".join(missed) or None)


def variable(name: str, value: str) -> Callable[[Arrangement], None]:
    """One variable of the first Envoy."""

    def make(bad: Arrangement) -> None:
        for given in bad.envoys[0]["env"]:
            if given["name"] == name:
                given["value"] = value

    return make


def without(name: str) -> Callable[[Arrangement], None]:
    def make(bad: Arrangement) -> None:
        container = bad.envoys[0]
        container["env"] = [given for given in container["env"] if given["name"] != name]

    return make


def pod(key: str, value: object) -> Callable[[Arrangement], None]:
    return lambda bad: bad.pod.update({key: value})


def container(key: str, value: object) -> Callable[[Arrangement], None]:
    return lambda bad: bad.envoys[0].update({key: value})


def beside(key: str, value: object) -> Callable[[Arrangement], None]:
    """Of the application."""
    return lambda bad: bad.pod["containers"][0].update({key: value})


def service_port(port: str) -> Callable[[Arrangement], None]:
    return lambda bad: bad.of_kind("Service")[0]["spec"]["ports"][0].update(targetPort=port)


def budget(**labels: str) -> Callable[[Arrangement], None]:
    return lambda bad: bad.of_kind("PodDisruptionBudget")[0]["spec"]["selector"].update(matchLabels=labels)


def pod_right(**fields: object) -> Callable[[Arrangement], None]:
    return lambda bad: bad.pod["securityContext"].update(fields)


def right(**fields: object) -> Callable[[Arrangement], None]:
    return lambda bad: bad.envoys[0]["securityContext"].update(fields)


def probe(**get: object) -> Callable[[Arrangement], None]:
    return lambda bad: bad.envoys[0]["readinessProbe"]["httpGet"].update(get)


def rollout(**numbers: int) -> Callable[[Arrangement], None]:
    def make(bad: Arrangement) -> None:
        spec = bad.workload["spec"]
        spec["strategy" if "strategy" in spec else "updateStrategy"]["rollingUpdate"] = numbers

    return make


def second_envoy(bad: Arrangement) -> None:
    """The same container once more."""
    bad.pod["containers"].append({**bad.envoys[0], "name": "second"})


def config(change: Callable[[dict], None]) -> Callable[[Arrangement], None]:
    def make(bad: Arrangement) -> None:
        changed = bad.config(bad.envoys[0])
        change(changed)
        bad.config_map(bad.envoys[0])["data"]["envoy.yaml"] = yaml.safe_dump(changed)

    return make


def http(name: str, **fields: object) -> Callable[[Arrangement], None]:
    """Fields of the HTTP connection manager of a listener."""

    def change(changed: dict) -> None:
        for listener in listeners(changed).values():
            if listener["name"] == name:
                listener["filter_chains"][0]["filters"][0]["typed_config"].update(fields)

    return config(change)


def listen(port: int, address: str) -> Callable[[Arrangement], None]:
    return config(lambda it: listeners(it)[port]["address"]["socket_address"].update(address=address))


# As it should be mounted.
CONFIG = {"name": "config", "mountPath": "/etc/envoy", "readOnly": True}

# The arrangement, words of what is to be said, and the mistake.
MISTAKES: list[tuple[str, str, Callable[[Arrangement], None]]] = [
    ("watched", "Additional properties", pod("terminationGracePeriod", 35)),
    ("watched", "is not of type", container("terminationMessagePolicy", 1)),
    ("watched", "does not select", lambda bad: bad.template["metadata"].update(labels={"app": "envoy"})),
    ("watched", "does not select", budget(app="envoy")),
    ("watched", "no container has the Service's port", service_port("https")),
    ("watched", "not for clients", service_port("health")),
    ("watched", "base ids", without("ENVOY_BASE_ID")),
    ("sidecar", "base ids", second_envoy),
    ("watched", "two listeners have one port", second_envoy),
    ("sidecar", "beside others", without("HOT_RESTARTER_CONTROL")),
    ("sidecar", "control sockets must be different", second_envoy),
    ("sidecar", "where the control socket is to be", variable("HOT_RESTARTER_CONTROL", "/run/hot-restarter.sock")),
    ("sidecar", "the usual place", variable("HOT_RESTARTER_CONTROL", "/dev/shm/hot-restarter-101.sock")),
    ("daemonset", "base id 0", variable("ENVOY_BASE_ID", "0")),
    ("daemonset", "dnsPolicy", pod("dnsPolicy", "ClusterFirst")),
    ("daemonset", "same ports of a node", rollout(maxSurge=1, maxUnavailable=0)),
    ("watched", "less than there was", rollout(maxSurge=1, maxUnavailable=1)),
    ("watched", "enableServiceLinks", pod("enableServiceLinks", True)),
    ("watched", "a grace of 34 s", pod("terminationGracePeriodSeconds", 34)),
    ("watched", "a grace of 35 s", variable("HOT_RESTARTER_TERM_WAIT", "31")),
    ("sidecar", "a grace of 20 s", pod("terminationGracePeriodSeconds", 20)),
    ("sidecar", "nobody tells clients to go", container("lifecycle", {})),
    ("sidecar", "app ends 5 s after", beside("lifecycle", {"preStop": {"sleep": {"seconds": 5}}})),
    ("sidecar", "no probe asks app", beside("readinessProbe", {"httpGet": {"path": "/", "port": 10010}})),
    ("watched", "too little time", variable("HOT_RESTARTER_DRAIN_MIN", "5")),
    ("daemonset", "a load balancer outside", http("ingress", http_filters=[])),
    ("watched", "drain-timeout 26.0 is more", variable("HOT_RESTARTER_DRAIN_TIMEOUT", "26")),
    ("watched", "drain-min 26.0 is more", variable("HOT_RESTARTER_DRAIN_MIN", "26")),
    ("watched", "is not longer than its drain", variable("ENVOY_PARENT_SHUTDOWN_TIME_S", "45")),
    ("watched", "a guess", without("ENVOY_CONCURRENCY")),
    ("watched", "Envoy's admin is at", variable("HOT_RESTARTER_ENVOY_ADMIN", "127.0.0.1:9902")),
    ("daemonset", "nothing can be written", container("volumeMounts", [CONFIG])),
    ("watched", "others reach the admin", pod("hostNetwork", True)),
    ("watched", "Envoy does not listen at 10002", container("ports", [{"name": "health", "containerPort": 10002}])),
    ("watched", "may outlive", http("ingress", request_timeout="60s")),
    ("watched", "asks the admin", probe(port=9901)),
    ("watched", "where Envoy does not listen", probe(port="https")),
    ("watched", "no health_check filter answers", probe(path="/ready")),
    ("watched", "no health_check filter answers", probe(port="http")),
    ("watched", "does not reach 127.0.0.1", listen(10001, "127.0.0.1")),
    ("watched", "the readinessProbe is no httpGet", container("readinessProbe", {"tcpSocket": {"port": "health"}})),
    ("watched", "a livenessProbe", container("livenessProbe", {"tcpSocket": {"port": "health"}})),
    ("watched", "mounted as a folder", container("volumeMounts", [CONFIG | {"subPath": "envoy.yaml"}])),
    ("watched", "is watched just when", without("HOT_RESTARTER_WATCH")),
    ("watched", "is watched, and the ConfigMap is at", variable("HOT_RESTARTER_WATCH", "/etc")),
    ("watched", "without a jitter", without("HOT_RESTARTER_WATCH_JITTER")),
    ("staged", "must be immutable", lambda bad: bad.config_map(bad.envoys[0]).pop("immutable")),
    ("watched", "runs as root", pod_right(runAsUser=0)),
    ("watched", "seccomp", pod_right(seccompProfile={"type": "Unconfined"})),
    ("sidecar", "more rights", right(capabilities={"drop": ["ALL"], "add": ["KILL"]})),
    ("watched", "root can be written to", right(readOnlyRootFilesystem=False)),
    ("watched", "no measure", container("resources", {"requests": {"cpu": "1"}, "limits": {}})),
]

if __name__ == "__main__":
    main()
