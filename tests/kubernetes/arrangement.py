"""An arrangement of docker/kubernetes, as kustomize renders it."""

import contextlib
import copy
import json
import pathlib
import shutil
import subprocess
import tempfile

import libraries  # noqa: F401, for what it does to the path
import yaml

MANIFESTS = libraries.HERE.parent.parent / "docker" / "kubernetes"
# Every folder that is applied; `base` is only what some of them have in common.
NAMES = ["watched", "staged", "shared-pid", "sidecar", "daemonset"]

WORKLOADS = ("Deployment", "DaemonSet")


class Arrangement:
    """The objects of one folder, and the questions that are asked of them."""

    def __init__(self, name: str, objects: list[dict]) -> None:
        self.name = name
        self.objects = objects

    @classmethod
    def render(cls, name: str) -> "Arrangement":
        return cls(name, list(yaml.safe_load_all(kustomize(name))))

    def copy(self) -> "Arrangement":
        return Arrangement(self.name, copy.deepcopy(self.objects))

    def of_kind(self, *kinds: str) -> list[dict]:
        return [thing for thing in self.objects if thing["kind"] in kinds]

    @property
    def workload(self) -> dict:
        (workload,) = self.of_kind(*WORKLOADS)
        return workload

    @property
    def template(self) -> dict:
        return self.workload["spec"]["template"]

    @property
    def pod(self) -> dict:
        return self.template["spec"]

    @property
    def containers(self) -> list[dict]:
        """All of the pod; a native sidecar is an init container."""
        return self.pod.get("initContainers", []) + self.pod["containers"]

    @property
    def envoys(self) -> list[dict]:
        """Those that run under hot-restarter."""
        return [one for one in self.containers if any(name.startswith("HOT_RESTARTER_") for name in variables(one))]

    def volume(self, name: str) -> dict:
        (volume,) = [volume for volume in self.pod["volumes"] if volume["name"] == name]
        return volume

    def config(self, container: dict) -> dict:
        """Envoy's configuration in this container, from the ConfigMap that is mounted there."""
        return yaml.safe_load(self.config_text(container))

    def config_text(self, container: dict) -> str:
        return self.config_map(container)["data"]["envoy.yaml"]

    def config_map(self, container: dict) -> dict:
        (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/etc/envoy"]
        name = self.volume(mount["name"])["configMap"]["name"]
        found = [config_map for config_map in self.of_kind("ConfigMap") if config_map["metadata"]["name"] == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} ConfigMaps are called {name}")
        return found[0]


def variables(container: dict) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}


def port_number(container: dict, port: int | str) -> int | None:
    """The number that a probe or a Service means by a port's name or number."""
    named = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    return port if isinstance(port, int) else named.get(port)


def kustomize(name: str) -> str:
    """What `kubectl apply -k` would send."""
    with contextlib.ExitStack() as scratch:
        folder = MANIFESTS
        if is_old():
            folder = pathlib.Path(scratch.enter_context(tempfile.TemporaryDirectory())) / "kubernetes"
            in_old_words(folder)
        done = subprocess.run(["kubectl", "kustomize", str(folder / name)], capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        # A warning is of a word that is about to go.
        raise SystemExit(f"kubectl kustomize {name}: {done.stdout}{done.stderr}")
    return done.stdout


def is_old() -> bool:
    """Whether kubectl has kustomize 2.0.3, as Debian 12's and every one before 1.21."""
    said = subprocess.run(["kubectl", "version", "--client", "--output=json"], check=True, capture_output=True)
    return int(json.loads(said.stdout)["clientVersion"]["minor"].rstrip("+")) < 21


def in_old_words(folder: pathlib.Path) -> None:
    """A copy of the manifests whose kustomizations say the same in the words of 2.0.3."""
    shutil.copytree(MANIFESTS, folder)
    for file in folder.glob("*/kustomization.yaml"):
        said = yaml.safe_load(file.read_text())
        resources = said.pop("resources", [])
        said["bases"] = [resource for resource in resources if not resource.endswith(".yaml")]
        said["resources"] = [resource for resource in resources if resource.endswith(".yaml")]
        said["patchesStrategicMerge"] = [patch["path"] for patch in said.pop("patches", [])]
        file.write_text(yaml.safe_dump(said))
