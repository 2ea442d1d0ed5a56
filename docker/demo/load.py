"""HTTP load from wrk and hey, and what they counted."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from wait import Failure

# Longer than any demo; it bounds a generator that nobody stops.
AT_MOST_SECONDS = 900
# Long enough for the slowest request in flight (both give up on it sooner).
LAST_REQUEST_SECONDS = 30

# wrk knows no rate, only a pause before each request. Without one it would take every
# processor and measure itself.
PACE = pathlib.Path(__file__).with_name("pace.lua")


@dataclass
class Counted:
    """What a generator saw: answers with 200, and everything else."""

    name: str
    answered: int
    failed: int
    seconds: float

    @property
    def sent(self) -> int:
        return self.answered + self.failed


class Generator:
    """One running load generator; `stop` returns its figures."""

    def __init__(self, name: str, tool: str, command: list[str], output: pathlib.Path) -> None:
        self.name, self.tool, self.output = name, tool, output
        self.begin = time.monotonic()
        with output.open("w") as sink:
            # A session of its own, for Ctrl-C is for the demo, which then cleans up.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )

    def check(self) -> None:
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended before its time:\n{self.output.read_text()}")

    def stop(self) -> Counted:
        self.check()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(LAST_REQUEST_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} does not end after SIGINT") from None
        seconds = time.monotonic() - self.begin
        said = self.output.read_text()
        answered, failed = {"wrk": wrk_figures, "hey": hey_figures}[self.tool](said)
        if answered + failed == 0:
            raise Failure(f"{self.name} reports no request at all:\n{said}")
        return Counted(self.name, answered, failed, seconds)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def tools() -> set[str]:
    """The generators at hand, installed first where there is none and we may."""
    names = ("wrk", "hey")
    if not any(map(shutil.which, names)) and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing wrk and hey …", file=sys.stderr)
        subprocess.run(["apt-get", "--quiet", "update"], stdout=sys.stderr)
        for name in names:
            install = ["apt-get", "--quiet", "install", "--yes", "--no-install-recommends", name]
            subprocess.run(install, stdout=sys.stderr)
    found = {name for name in names if shutil.which(name)}
    if not found:
        raise Failure("the demo needs a load generator: please install wrk or hey (Debian has both)")
    return found


def start(url: str, found: set[str], folder: pathlib.Path) -> list[Generator]:
    """About 4,000 requests a second on connections that are kept, 400 on new ones.

    Each kind comes from the tool that is better at it, or from the other.
    """
    wrk = ["wrk", "--threads=2", f"--duration={AT_MOST_SECONDS}s", f"--script={PACE}"]
    hey = ["hey", "-z", f"{AT_MOST_SECONDS}s"]
    kept = {
        "wrk": wrk + ["--connections=64", url, "15"],
        "hey": hey + ["-c", "40", "-q", "100", url],
    }
    new = {
        "wrk": wrk + ["--connections=8", "--header=Connection: close", url, "20"],
        "hey": hey + ["-c", "8", "-q", "50", "-disable-keepalive", url],
    }
    generators = []
    for kind, commands, preferred in [("keep-alive", kept, "wrk"), ("new connections", new, "hey")]:
        tool = preferred if preferred in found else next(iter(found))
        output = folder / f"load-{kind.replace(' ', '-')}.txt"
        generators.append(Generator(f"{tool}, {kind}", tool, commands[tool], output))
    return generators


def wrk_figures(said: str) -> tuple[int, int]:
    """Answered and failed, from wrk's report."""
    completed = number(r"(\d+) requests in", said)
    refused = number(r"Non-2xx or 3xx responses: (\d+)", said)
    broken = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    return completed - refused, refused + (sum(map(int, broken.groups())) if broken else 0)


def hey_figures(said: str) -> tuple[int, int]:
    """Answered and failed, from hey's report: `[status] N responses`, `[N] error`."""
    statuses, _, errors = said.partition("Error distribution:")
    counts = {status: int(count) for status, count in re.findall(r"\[(\d+)\]\s+(\d+) responses", statuses)}
    answered = counts.pop("200", 0)
    return answered, sum(counts.values()) + sum(map(int, re.findall(r"^\s*\[(\d+)\]", errors, re.MULTILINE)))


def number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0
