#!/usr/bin/env python3
"""Prints a pod of an arrangement of docker/kubernetes for `podman kube play`.

Podman knows no Deployment of today, no native sidecar, no preStop and no ConfigMap that changes,
and ports of the machine's network may be taken. What it does not know is said in its words here,
so that the manifests need not be; everything else is as it is written there.

Lines that begin with `# envoy` come first: each Envoy's name, its ports for clients and for
probes, and the path of its probe. So do the preStop hooks: `# hook` with an Envoy's name and its
command, `# sleep` with the seconds of an application. The configurations are left in the folder
that is named.
"""

import argparse
import pathlib

from arrangement import NAMES, Arrangement, port_number, variables
from check import listeners

import yaml

CONFIG = "/etc/envoy"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("arrangements", nargs="+", choices=NAMES, help="the first, and whose Envoys join it")
    options.add_argument("--configs", type=pathlib.Path, required=True, help="where configurations are to be found")
    options.add_argument("--image", required=True, help="for Envoy and for everything beside it")
    options.add_argument("--variable", action="append", default=[], metavar="NAME=VALUE")
    options.add_argument("--port", action="append", default=[], metavar="OLD=NEW", help="another for one that is taken")
    options.add_argument("--hook", metavar="COMMAND", help="another preStop hook for each Envoy that has one")
    options.add_argument("--neighbour", metavar="SCRIPT", help="a container beside, in which a shell runs this")
    chosen = options.parse_args()

    first, *others = map(Arrangement.render, chosen.arrangements)
    spec, heads = first.pod, []
    envoys = [play(one, envoy, chosen, heads) for one in [first, *others] for envoy in one.envoys]
    beside = [application(one, heads) for one in spec["containers"] if one not in first.envoys]
    if chosen.neighbour:
        beside.append({"name": "neighbour", "command": ["sh", "-c", chosen.neighbour]})
    for container in envoys + beside:
        container["image"] = chosen.image
    spec.pop("initContainers", None)
    # Podman's pods of one node are spread already.
    spec.pop("topologySpreadConstraints", None)
    folders = [config_volume(envoy["name"], chosen.configs) for envoy in envoys]
    spec["volumes"] = folders + [volume for volume in spec["volumes"] if "configMap" not in volume]
    spec["containers"] = envoys + beside
    spec["restartPolicy"] = "Never"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "POD_NAME"}, "spec": spec}
    print(f"# grace {spec['terminationGracePeriodSeconds']}")
    print("\n".join(heads))
    print(yaml.safe_dump(pod))


def play(one: Arrangement, envoy: dict, chosen: argparse.Namespace, heads: list[str]) -> dict:
    """An Envoy in podman's words, named by its base id."""
    moved = {int(old): int(new) for old, new in (pair.split("=") for pair in chosen.port)}
    given = dict(pair.split("=", 1) for pair in chosen.variable)
    config = one.config(envoy)
    probe = envoy["readinessProbe"]["httpGet"]
    probe_port = port_number(envoy, probe["port"])
    clients = next(port for port in listeners(config) if port != probe_port)
    for port, listener in listeners(config).items():
        listener["address"]["socket_address"]["port_value"] = moved.get(port, port)
    # Podman would have each lead into the pod from outside; who asks here is inside.
    del envoy["ports"]
    for variable in envoy["env"]:
        variable["value"] = given.get(variable["name"], variable["value"])
    envoy["name"] = f"envoy-{variables(envoy)['ENVOY_BASE_ID']}"
    for mount in envoy["volumeMounts"]:
        if mount["mountPath"] == CONFIG:
            mount["name"] = config_volume(envoy["name"], chosen.configs)["name"]
    # An init container would have to end before the others begin.
    envoy.pop("restartPolicy", None)
    (chosen.configs / f"{envoy['name']}.yaml").write_text(yaml.safe_dump(config))
    ports = moved.get(clients, clients), moved.get(probe_port, probe_port)
    heads.append(f"# envoy {envoy['name']} {ports[0]} {ports[1]} {probe['path']}")
    hook = envoy.pop("lifecycle", {}).get("preStop")
    if hook:
        heads.append(f"# hook {envoy['name']} {chosen.hook or ' '.join(hook['exec']['command'])}")
    return envoy


def config_volume(name: str, configs: pathlib.Path) -> dict:
    return {"name": f"config-{name}", "hostPath": {"path": str(configs / name), "type": "Directory"}}


def application(container: dict, heads: list[str]) -> dict:
    """Something to stand behind Envoy: a server of the image's, which needs an init to end."""
    heads.append(f"# sleep {container.pop('lifecycle')['preStop']['sleep']['seconds']}")
    # Podman does not know who it is that this asks; the trials do it.
    probe = container.pop("readinessProbe")["httpGet"]["path"]
    # The root is read-only, and what is in /dev/shm goes with the pod.
    served = "/dev/shm/application"
    script = f"mkdir {served} && echo yes >{served}{probe} && exec httpd -f -p 127.0.0.1:8080 -h {served}"
    # The usual place is another Envoy's of the pod, perhaps, which has the same user.
    container["command"] = ["/hot-restarter", "--control=none", "sh", "-c", script]
    return container


if __name__ == "__main__":
    main()
