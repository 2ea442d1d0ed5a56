"""Where the demo plays: a container, or a PID namespace where there is no engine.

Both share the network of the machine, so the load goes over plain loopback with no
proxy between, and both let Envoy choose its base id, so that it never meets the
sockets of another Envoy.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from wait import Failure, until

DOCKER = pathlib.Path(__file__).resolve().parent.parent
ENVOY = DOCKER.parent / "target" / "envoy"

# Drains as short as these let three restarts be watched to their end.
ENVIRONMENT = {
    "ENVOY_DYNAMIC_BASE_ID": "1",
    "ENVOY_DRAIN_TIME_S": "2",
    "ENVOY_PARENT_SHUTDOWN_TIME_S": "3",
    "ENVOY_MAX_INOTIFY_WATCHES": "0",  # This limit is the machine's, not the demo's.
    "HOT_RESTARTER_TERM_WAIT": "25",
    "HOT_RESTARTER_MAX_EPOCHS": "2",
    "HOT_RESTARTER_ROLLBACK": "1",
    "HOT_RESTARTER_CHECK": "start_envoy.sh --mode validate --log-level critical",
}
# At info Envoy lists its extensions at each start, 30 kB of them.
ARGUMENTS = ["start_envoy.sh", "--log-level", "warning"]
STOP_SECONDS = 30


class Stage:
    """What both stages have: a PID 1 that we know by its pid on the machine."""

    pid1 = 0

    def check(self) -> None:
        if not self.is_alive():
            raise Failure("hot-restarter has ended before it was told to")

    def is_alive(self) -> bool:
        return os.path.exists(f"/proc/{self.pid1}")

    def epochs(self) -> int:
        """How many epochs live: the children of PID 1."""
        return len(children(self.pid1))


class Container(Stage):
    """PID 1 of a container of the example image."""

    log_folder = "/var/log/envoy"

    def __init__(self, folder: pathlib.Path, binary: pathlib.Path) -> None:
        self.folder = folder
        self.name = f"hot-restarter-demo-{os.getpid()}"
        self.title = "PID 1 of a Docker container"
        prepare("images.py", "--binary", str(binary))

    def start(self) -> None:
        command = ["run", "--detach", "--name", self.name, "--network=host"]
        command += [f"--volume={self.folder / 'envoy.yaml'}:/etc/envoy/envoy.yaml:ro"]
        command += [f"--volume={self.folder / 'log'}:{self.log_folder}"]
        command += [f"--env={name}={value}" for name, value in ENVIRONMENT.items()]
        docker(*command, "hot-restarter/envoy", *ARGUMENTS[1:])
        self.pid1 = int(docker("inspect", "--format", "{{.State.Pid}}", self.name))

    def signal(self, which: signal.Signals) -> str:
        docker("kill", f"--signal={which.name}", self.name)
        return f"docker kill --signal={which.name}"

    def stop(self) -> tuple[int, float]:
        begin = time.monotonic()
        docker("stop", f"--time={STOP_SECONDS}", self.name)
        seconds = time.monotonic() - begin
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self.name)), seconds

    def said(self) -> str:
        done = subprocess.run(
            ["docker", "logs", self.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30
        )
        return done.stdout

    def clean_up(self) -> None:
        subprocess.run(["docker", "rm", "--force", "--volumes", self.name], capture_output=True, timeout=60)


class Namespace(Stage):
    """PID 1 of a PID namespace, with a /proc and a /dev/shm of its own."""

    def __init__(self, folder: pathlib.Path, binary: pathlib.Path) -> None:
        self.folder, self.binary = folder, binary.resolve()
        self.log_folder = str(folder / "log")
        self.output = folder / "said.log"
        self.process: subprocess.Popen | None = None
        self.title = "PID 1 of a PID namespace (unshare)"
        prepare("fetch_envoy.py")

    def start(self) -> None:
        if not shutil.which("unshare"):
            raise Failure("a PID namespace needs `unshare` (Debian: util-linux)")
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if os.geteuid() != 0:
            command += ["--user", "--map-root-user"]
        command += ["sh", "-c", 'mount -t tmpfs demo /dev/shm && exec "$@"', "sh", str(self.binary)]
        here = {
            "PATH": f"{ENVOY}:{DOCKER}:{os.environ['PATH']}",
            "ENVOY_CONFIG": str(self.folder / "envoy.yaml"),
            "ENVOY_BASE_ID_PATH": str(self.folder / "base-id"),
        }
        with self.output.open("w") as sink:
            self.process = subprocess.Popen(
                command + ARGUMENTS,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **ENVIRONMENT, **here},
                start_new_session=True,
            )
        until(self._found, 5, "unshare has made a PID namespace", [self._check_unshare])

    def _found(self) -> bool:
        self.pid1 = next(iter(children(self.process.pid)), 0)
        return self.pid1 != 0

    def _check_unshare(self) -> None:
        if self.process.poll() is not None:
            raise Failure("no PID namespace can be made here, which takes root or user namespaces")

    def signal(self, which: signal.Signals) -> str:
        os.kill(self.pid1, which)
        return f"kill -{which.name.removeprefix('SIG')}"

    def stop(self) -> tuple[int, float]:
        begin = time.monotonic()
        os.kill(self.pid1, signal.SIGTERM)
        # unshare ends as its child does, so its status is that of hot-restarter.
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"hot-restarter still runs {STOP_SECONDS} s after SIGTERM") from None
        return status, time.monotonic() - begin

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else "nothing"

    def clean_up(self) -> None:
        if self.process and self.process.poll() is None:
            # The kernel ends a PID namespace with its PID 1, and unshare reaps that.
            os.kill(self.pid1 or self.process.pid, signal.SIGKILL)
            self.process.wait()


def choose(wanted: str) -> tuple[type[Stage], str]:
    """The stage to play on, and why it is that one."""
    if wanted == "docker":
        return Container, "as asked for"
    if wanted == "unshare":
        return Namespace, "as asked for"
    if not shutil.which("docker"):
        return Namespace, "for there is no docker here"
    try:
        security = docker("info", "--format", "{{.SecurityOptions}}")
    except Failure:
        return Namespace, "for no Docker engine answers"
    if "rootless" in security:
        return Namespace, "for a rootless Docker engine does not share the machine's loopback"
    return Container, "for a Docker engine answers"


def children(parent: int) -> list[int]:
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        # One that has ended since it was listed is nobody's child.
        with contextlib.suppress(OSError):
            stat = pathlib.Path("/proc", process, "stat").read_text()
            # The name, in parentheses, may hold anything; the parent is the second field after it.
            if stat.rpartition(")")[2].split()[1] == str(parent):
                found.append(int(process))
    return found


def prepare(script: str, *arguments: str) -> None:
    """Runs a script of this folder, whose names for what it made we know."""
    done = subprocess.run([sys.executable, DOCKER / script, *arguments], stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failure(f"docker/{script} failed, see above")


def docker(*arguments: str) -> str:
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise Failure(f"`docker {arguments[0]}` hangs") from None
    if done.returncode != 0:
        raise Failure(f"`docker {arguments[0]}` failed: {done.stderr.strip()}")
    return done.stdout.strip()
