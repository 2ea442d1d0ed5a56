#!/usr/bin/env python3
"""Checks every arrangement of docker/kubernetes: against the schemas of the newest versions of
Kubernetes, and for what no schema knows: the numbers that must fit together, and that Envoy and
hot-restarter take what they are given.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from arrangement import MANIFESTS, NAMES, Arrangement, port_number, variables

import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions, major_minor

# How many of the newest versions of Kubernetes: those that are maintained.
VERSIONS = 3
# What hot-restarter needs after --term-wait, and above --drain-timeout.
SLACK = 5
ENVOY_DEFAULTS = {"ENVOY_DRAIN_TIME_S": "45", "ENVOY_PARENT_SHUTDOWN_TIME_S": "60", "ENVOY_BASE_ID": "0"}
# Envoy keeps a connection for 5 s when it has told its client to go; so long must it serve on.
LEAST_DRAIN = 6
HEALTH_CHECK = "envoy.filters.http.health_check"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--binary", type=pathlib.Path, required=True, help="hot-restarter")
    options.add_argument("--envoy", type=pathlib.Path, required=True)
    chosen = options.parse_args()
    wrong = []
    for one in map(Arrangement.render, NAMES):
        found = [*faults(one), *run_faults(one, chosen.binary, chosen.envoy)]
        wrong += [f"{one.name}: {fault}" for fault in found]
    if (MANIFESTS / "watched/envoy.yaml").read_text() != (MANIFESTS / "staged/envoy.yaml").read_text():
        # Kustomize reads no file of another folder, so it is there twice.
        wrong.append("watched and staged: envoy.yaml differs")
    wrong += [f"compose.yaml: {fault}" for fault in compose_faults(chosen.binary)]
    print(f"{len(NAMES)} arrangements, against Kubernetes {', '.join(versions())}")
    sys.exit("\n".join(wrong) or None)


def versions() -> list[str]:
    every = list(dict.fromkeys(map(major_minor, all_versions())))
    return every[-VERSIONS:]


def faults(one: Arrangement) -> Iterator[str]:
    """What is wrong, as far as it can be seen without running anything."""
    yield from schema_faults(one)
    yield from selector_faults(one)
    yield from pod_faults(one)
    for container in one.envoys:
        rules = (stop_faults, sidecar_faults, envoy_faults, probe_faults, watch_faults, right_faults)
        for rule in rules:
            yield from (f"{container['name']}: {fault}" for fault in rule(one, container))


def schema_faults(one: Arrangement) -> Iterator[str]:
    for version in versions():
        for thing in one.objects:
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(map(str, error.path))
                yield f"{thing['kind']} against {version}: {path}: {error.message}"


def selector_faults(one: Arrangement) -> Iterator[str]:
    """Everything that selects pods selects these."""
    labels = one.template["metadata"]["labels"].items()
    spread = [rule["labelSelector"]["matchLabels"] for rule in one.pod.get("topologySpreadConstraints", [])]
    selectors = [one.workload["spec"]["selector"]["matchLabels"], *spread]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in one.of_kind("PodDisruptionBudget")]
    for service in one.of_kind("Service"):
        selectors.append(service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            numbers = [port_number(container, port["targetPort"]) for container in one.containers]
            if not any(numbers):
                yield f"no container has the Service's port {port['targetPort']}"
            if set(numbers) & set(private_ports(one)):
                yield f"the Service leads to a port that is not for clients: {port['targetPort']}"
    for selector in selectors:
        if not selector.items() <= labels:
            yield f"{selector} does not select the pods"


def private_ports(one: Arrangement) -> Iterator[int]:
    """Where the admins and the probes are."""
    for container in one.envoys:
        config = one.config(container)
        yield admin_port(config) or 0
        yield from (number for number, listener in listeners(config).items() if health_path(listener))


def pod_faults(one: Arrangement) -> Iterator[str]:
    """What the containers of a pod share."""
    base_ids = [variables(container).get("ENVOY_BASE_ID") for container in one.envoys]
    if None in base_ids or len(set(base_ids)) != len(base_ids):
        yield f"the base ids must be given and different within a pod: {base_ids}"
    if one.pod.get("hostNetwork"):
        if "0" in base_ids:
            yield "on the node's network base id 0 is another Envoy's, sooner or later"
        if one.pod.get("dnsPolicy") != "ClusterFirstWithHostNet":
            yield "on the node's network names of the cluster need dnsPolicy ClusterFirstWithHostNet"
        if rolling_update(one) != {"maxSurge": 0, "maxUnavailable": 1}:
            yield "two pods cannot have the same ports of a node"
        for container in one.envoys:
            for port in container["ports"]:
                listener = listeners(one.config(container)).get(port["containerPort"])
                if listener and not health_path(listener):
                    yield f"a load balancer outside cannot ask port {port['containerPort']} for its health"
    elif rolling_update(one) != {"maxSurge": 1, "maxUnavailable": 0}:
        yield "a rollout must not begin with less than there was"
    ports = [port for container in one.envoys for port in listeners(one.config(container))]
    ports += [admin_port(one.config(container)) for container in one.envoys]
    ports = [port for port in ports if port]
    if len(set(ports)) != len(ports):
        yield f"two listeners have one port: {ports}"
    yield from control_faults(one)
    for key, value in {"enableServiceLinks": False, "automountServiceAccountToken": False}.items():
        if one.pod.get(key) is not value:
            yield f"{key} must be {value}"


def control_faults(one: Arrangement) -> Iterator[str]:
    """A pod has one /dev/shm, where every restarter of one user would have its socket."""
    sockets = [variables(container).get("HOT_RESTARTER_CONTROL") for container in one.envoys]
    # What is beside Envoy may have a restarter of its own, at the usual place.
    if len(one.containers) > 1 and None in sockets:
        yield "beside others each needs a control socket of its own"
    sockets = [socket for socket in sockets if socket]
    if len(set(sockets)) != len(sockets):
        yield f"the control sockets must be different within a pod: {sockets}"
    for container in one.envoys:
        socket = variables(container).get("HOT_RESTARTER_CONTROL", "/dev/shm/")
        folder = socket.rpartition("/")[0]
        if folder not in ["/dev/shm", *writable_folders(one, container)]:
            yield f"nothing can be written to {folder}, where the control socket is to be"
        if re.fullmatch(r"/dev/shm/hot-restarter-\d+\.sock", socket):
            yield f"{socket} is the usual place of some user's"


def rolling_update(one: Arrangement) -> dict:
    """A Deployment's strategy is a DaemonSet's updateStrategy."""
    spec = one.workload["spec"]
    return spec.get("updateStrategy", spec.get("strategy"))["rollingUpdate"]


def stop_faults(one: Arrangement, container: dict) -> Iterator[str]:
    """The drain fits into the wait, and the wait into the grace."""
    given = variables(container)
    grace = one.pod["terminationGracePeriodSeconds"]
    wait = float(given["HOT_RESTARTER_TERM_WAIT"])
    longest, least = float(given["HOT_RESTARTER_DRAIN_TIMEOUT"]), float(given["HOT_RESTARTER_DRAIN_MIN"])
    # A sidecar's stop begins when the others have ended.
    others = [other for other in one.pod["containers"] if other is not container]
    before = sum(other.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0) for other in others)
    if grace < before + wait + SLACK:
        yield f"a grace of {grace} s is less than {before} + term-wait {wait} + {SLACK}"
    if longest > wait - SLACK:
        yield f"drain-timeout {longest} is more than term-wait {wait} - {SLACK}"
    if least > longest:
        yield f"drain-min {least} is more than drain-timeout {longest}"


def sidecar_faults(one: Arrangement, container: dict) -> Iterator[str]:
    """Its clients are told to go when the pod's end begins, and the application outlasts that."""
    if container in one.pod["containers"]:
        if float(variables(container)["HOT_RESTARTER_DRAIN_MIN"]) < LEAST_DRAIN:
            yield "those who are told to go have too little time"
        return
    if container.get("restartPolicy") != "Always":
        yield "an init container is a sidecar by its restartPolicy"
    if container.get("lifecycle", {}).get("preStop") != {"exec": {"command": ["drain.sh"]}}:
        yield "nobody tells clients to go before the application ends"
    for other in one.pod["containers"]:
        lasts = other.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if lasts < LEAST_DRAIN:
            yield f"{other['name']} ends {lasts} s after clients were told to go"
        get = other.get("readinessProbe", {}).get("httpGet", {})
        listener = listeners(one.config(container)).get(get.get("port"))
        if not listener or get["path"] not in clusters_of(listener):
            yield f"no probe asks {other['name']}"


def clusters_of(listener: dict) -> list[str]:
    """The paths that a listener leads on to a cluster, one by one."""
    (host,) = http_of(listener)["route_config"]["virtual_hosts"]
    return [route["match"].get("path") for route in host["routes"] if "route" in route]


def envoy_faults(one: Arrangement, container: dict) -> Iterator[str]:
    """What Envoy is told agrees with itself, and with what hot-restarter is told."""
    given = ENVOY_DEFAULTS | variables(container)
    drain, shutdown = float(given["ENVOY_DRAIN_TIME_S"]), float(given["ENVOY_PARENT_SHUTDOWN_TIME_S"])
    if shutdown <= drain:
        yield f"Envoy's parent-shutdown {shutdown} is not longer than its drain {drain}"
    if "ENVOY_CONCURRENCY" not in given:
        yield "the number of workers must not be a guess"
    config = one.config(container)
    if admin_address(config) != given["HOT_RESTARTER_ENVOY_ADMIN"]:
        yield f"Envoy's admin is at {admin_address(config)}, not at {given['HOT_RESTARTER_ENVOY_ADMIN']}"
    if admin_address(config).startswith("unix:"):
        folder = admin_address(config).removeprefix("unix:").rpartition("/")[0]
        if folder not in writable_folders(one, container):
            yield f"nothing can be written to {folder}, where the admin's socket is to be"
    elif not admin_address(config).startswith("127.0.0.1:") or one.pod.get("hostNetwork"):
        yield "others reach the admin"
    for port in container.get("ports", []):
        if port["containerPort"] not in listeners(config):
            yield f"Envoy does not listen at {port['containerPort']}"
        if port["containerPort"] == admin_port(config):
            yield "the admin is no port of the pod's"
    for listener in config["static_resources"]["listeners"]:
        if request_timeout(listener) >= shutdown:
            yield f"a request may outlive parent-shutdown: {listener['name']}"


def writable_folders(one: Arrangement, container: dict) -> list[str]:
    mounts = [mount for mount in container["volumeMounts"] if not mount.get("readOnly")]
    return [mount["mountPath"] for mount in mounts if "emptyDir" in one.volume(mount["name"])]


def probe_faults(one: Arrangement, container: dict) -> Iterator[str]:
    """Every probe is one of a listener that answers it, and none of the admin."""
    config = one.config(container)
    for kind in ("startupProbe", "readinessProbe"):
        if "httpGet" not in container.get(kind, {}):
            yield f"the {kind} is no httpGet"
    if "livenessProbe" in container:
        yield "a livenessProbe can only end what serves"
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = container.get(kind, {}).get("httpGet")
        if not get:
            continue
        port = port_number(container, get["port"])
        if port == admin_port(config):
            yield f"the {kind} asks the admin"
        listener = listeners(config).get(port)
        if not listener:
            yield f"the {kind} asks port {get['port']}, where Envoy does not listen"
        elif health_path(listener) != get["path"]:
            yield f"the {kind} asks for {get['path']}, which no health_check filter answers"
        else:
            here = listener["address"]["socket_address"]["address"]
            if here not in ("0.0.0.0", get.get("host")):
                yield f"the {kind} does not reach {here}"


def watch_faults(one: Arrangement, container: dict) -> Iterator[str]:
    """What changes is watched, and what is watched can change."""
    name, watched = one.config_map(container)["metadata"]["name"], variables(container).get("HOT_RESTARTER_WATCH")
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/etc/envoy"]
    if "subPath" in mount or not mount.get("readOnly"):
        yield "the configuration is mounted as a folder, to be read"
    hashed = name not in ("envoy", "app-envoy", "envoy-edge")
    immutable = one.config_map(container).get("immutable", False)
    if hashed is not immutable:
        yield f"the ConfigMap {name} must be immutable just when it is named by its hash"
    if (watched is None) is not immutable:
        yield f"the ConfigMap {name} is watched just when it can change"
    if watched and watched != mount["mountPath"]:
        yield f"{watched} is watched, and the ConfigMap is at {mount['mountPath']}"
    if watched and "HOT_RESTARTER_WATCH_JITTER" not in variables(container):
        yield "without a jitter the fleet restarts in the same second"


def right_faults(one: Arrangement, container: dict) -> Iterator[str]:
    """What Pod Security calls restricted, a root that is read-only, and memory that has an end."""
    pod, own = one.pod["securityContext"], container["securityContext"]
    if not pod["runAsNonRoot"] or not pod["runAsUser"]:
        yield "it runs as root"
    if pod["seccompProfile"] != {"type": "RuntimeDefault"}:
        yield "it lacks the runtime's seccomp profile"
    if own["allowPrivilegeEscalation"] or own["capabilities"] != {"drop": ["ALL"]}:
        yield "it may have more rights than it needs"
    if not own["readOnlyRootFilesystem"]:
        yield "its root can be written to"
    resources = container["resources"]
    if "memory" not in resources["limits"] or set(resources["requests"]) != {"cpu", "memory"}:
        yield "its resources have no measure"


def run_faults(one: Arrangement, binary: pathlib.Path, envoy: pathlib.Path) -> Iterator[str]:
    """What Envoy says of its configuration, and hot-restarter of its variables."""
    for container in one.envoys:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(one.config_text(container))
            file.flush()
            command = [envoy, "--mode", "validate", "--log-level", "warning", "--config-path", file.name]
            said = subprocess.run(command, capture_output=True, text=True)
        if said.returncode != 0 or "deprecated" in said.stderr:
            yield f"{container['name']}: envoy --mode validate: {said.stdout}{said.stderr}"
        yield from (f"{container['name']}: {fault}" for fault in variable_faults(binary, variables(container)))


def variable_faults(binary: pathlib.Path, given: dict[str, str]) -> Iterator[str]:
    """It warns of what it does not know, and refuses what cannot work."""
    # For start_envoy.sh, as in the image.
    path = {"PATH": f"{MANIFESTS.parent}:/usr/bin:/bin"}
    ours = {name: value for name, value in given.items() if name.startswith("HOT_RESTARTER_")}
    # Where the machine's own restarter is, if it has one.
    nowhere = {"HOT_RESTARTER_CONTROL": "none"}
    said = subprocess.run([binary, "true"], env=path | nowhere | ours, capture_output=True, text=True)
    if said.returncode != 0 or "HOT_RESTARTER_" in said.stderr:
        yield f"hot-restarter: {said.stderr}"


def compose_faults(binary: pathlib.Path) -> Iterator[str]:
    """The same numbers, beside what the image sets."""
    image = (MANIFESTS.parent / "Dockerfile.envoy").read_text()
    (wait,) = re.findall(r"HOT_RESTARTER_TERM_WAIT=(\d+)", image)
    (service,) = yaml.safe_load((MANIFESTS.parent / "compose.yaml").read_text())["services"].values()
    given = {name: str(value) for name, value in service["environment"].items()}
    yield from variable_faults(binary, given | {"HOT_RESTARTER_TERM_WAIT": wait})
    if float(service["stop_grace_period"].removesuffix("s")) < float(wait) + SLACK:
        yield "docker kills before we do"
    if float(given.get("HOT_RESTARTER_DRAIN_MIN", LEAST_DRAIN)) < LEAST_DRAIN:
        yield "those who are told to go have too little time"
    admin = yaml.safe_load((MANIFESTS.parent / "envoy.yaml").read_text())
    if admin_address(admin) != given["HOT_RESTARTER_ENVOY_ADMIN"]:
        yield "Envoy's admin is elsewhere"


def admin_address(config: dict) -> str:
    """As --envoy-admin takes it."""
    address = config["admin"]["address"]
    if "pipe" in address:
        return f"unix:{address['pipe']['path']}"
    return f"{address['socket_address']['address']}:{address['socket_address']['port_value']}"


def admin_port(config: dict) -> int | None:
    return config["admin"]["address"].get("socket_address", {}).get("port_value")


def listeners(config: dict) -> dict[int, dict]:
    every = config["static_resources"]["listeners"]
    return {listener["address"]["socket_address"]["port_value"]: listener for listener in every}


def http_of(listener: dict) -> dict:
    """The configuration of a listener's HTTP connection manager."""
    (chain,) = listener["filter_chains"]
    (manager,) = chain["filters"]
    return manager["typed_config"]


def health_path(listener: dict) -> str | None:
    """The path that the listener's health_check filter answers by itself."""
    for filter in http_of(listener)["http_filters"]:
        if filter["name"] == HEALTH_CHECK and filter["typed_config"]["pass_through_mode"] is False:
            (header,) = filter["typed_config"]["headers"]
            return header["string_match"]["exact"] if header["name"] == ":path" else None
    return None


def request_timeout(listener: dict) -> float:
    return float(http_of(listener).get("request_timeout", "0s").removesuffix("s"))


if __name__ == "__main__":
    main()
