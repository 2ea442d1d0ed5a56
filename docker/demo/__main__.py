#!/usr/bin/env python3
"""Shows the main job on the real thing: PID 1 over a real Envoy, under HTTP load.

Three hot restarts, a rotated access log, a bad configuration that is refused, a clean
stop. Ends with 0 only if no request failed, no line of the access log is missing and
hot-restarter's exit code is 0.
"""

import argparse
import os
import pathlib
import platform
import shutil
import signal
import sys
import time

import envoy
import load
import stage
from report import Handover, Report, lines, ms
from wait import Failure, until

TARGET = stage.DOCKER.parent / "target"
BINARY = TARGET / f"{platform.machine()}-unknown-linux-musl" / "release" / "hot-restarter"
FOLDER = TARGET / "demo"

RESTARTS = 3
# What the log says of a restart that the check has not let through.
REFUSED = "restart-refused"
SECONDS, QUICK_SECONDS = 30, 10
# A bound for waits that take 0.2 s when all is well, or 3 s for an epoch to leave.
PATIENCE = 30


def main() -> int:
    options = argparse.ArgumentParser(prog="demo", description=__doc__.split("\n")[0])
    options.add_argument("--binary", type=pathlib.Path, default=BINARY, help="the static hot-restarter")
    options.add_argument("--stage", choices=["auto", "docker", "unshare"], default="auto")
    options.add_argument("--seconds", type=float, help=f"how long the load lasts (DEMO_SECONDS, or {SECONDS})")
    options.add_argument("--quick", action="store_true", help=f"the same as --seconds {QUICK_SECONDS}")
    chosen = options.parse_args()
    default = QUICK_SECONDS if chosen.quick else float(os.environ.get("DEMO_SECONDS") or SECONDS)

    # So that what was started is cleaned up after a TERM as it is after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if not chosen.binary.exists():
            raise Failure(f"there is no {chosen.binary} yet: `make` builds it")
        report = play(chosen.binary, chosen.stage, chosen.seconds or default)
        print(f"\n{report.table()}\n")
        if report.complaints():
            raise Failure("; ".join(report.complaints()))
    except Failure as failure:
        print(f"\nFAILED: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    say("no request failed")
    return 0


def play(binary: pathlib.Path, wanted: str, seconds: float) -> Report:
    """From an empty stage to an empty stage, whatever happens in between."""
    found = load.tools()
    kind, why = stage.choose(wanted)
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "log").mkdir(parents=True)
    (FOLDER / "log").chmod(0o777)  # In the container Envoy is another user.
    place = kind(FOLDER, binary)
    say(f"hot-restarter is {place.title}, {why}")

    performance = Performance(place)
    try:
        performance.start()
        performance.start_load(found)
        for epoch in range(1, RESTARTS + 1):
            # Evenly spread, with load before the first and after the last.
            performance.serve_until(seconds * epoch / (RESTARTS + 2))
            performance.restart(epoch, rotate=epoch == RESTARTS)
        performance.refuse()
        performance.serve_until(seconds)
        performance.stop_load()
        performance.stop()
        (FOLDER / "said.log").write_text(place.said())
    except Failure:
        print(f"\nWhat hot-restarter and Envoy said:\n{place.said()}", file=sys.stderr)
        raise
    finally:
        performance.clean_up()
    return performance.report


class Performance:
    """The acts of the demo; each waits until it is complete, or fails."""

    def __init__(self, place: stage.Stage) -> None:
        self.place = place
        self.ports = envoy.Ports()
        self.log = FOLDER / "log" / "access.log"
        self.generators: list[load.Generator] = []
        self.report = Report()

    def start(self) -> None:
        (FOLDER / "envoy.yaml").write_text(envoy.configuration(self.ports, self.place.log_folder))
        began = time.monotonic()
        self.place.start()
        self.wait_for_live(0)
        say(f"epoch 0 is LIVE after {ms(time.monotonic() - began)}")

    def start_load(self, found: set[str]) -> None:
        self.load_began = time.monotonic()
        self.generators = load.start(f"http://127.0.0.1:{self.ports.ingress}/", found, FOLDER)
        self.wait(lambda: self.log.stat().st_size > 0, "the first requests are in the access log")
        say(f"load by {' and '.join(generator.name for generator in self.generators)}")

    def serve_until(self, seconds: float) -> None:
        """Just serves, until the load has lasted so long."""
        due = self.load_began + seconds
        self.wait(lambda: time.monotonic() >= due, "time has passed", within=seconds + 1)

    def restart(self, epoch: int, rotate: bool) -> None:
        sent = time.monotonic()
        how = self.place.signal(signal.SIGHUP)
        self.wait_for_live(epoch)
        live = time.monotonic() - sent
        say(f"{how}: epoch {epoch} is LIVE after {ms(live)}")
        if rotate:
            # In the middle of the handover, when two epochs write to the file.
            self.rotate()
        self.wait(lambda: self.place.epochs() == 1, f"epoch {epoch - 1} has ended")
        self.report.handovers.append(Handover(live, time.monotonic() - sent))

    def rotate(self) -> None:
        self.log.rename(self.log.with_suffix(".log.1"))
        sent = time.monotonic()
        how = self.place.signal(signal.SIGUSR1)
        self.wait(self.log.exists, "Envoy has opened a new access log")
        say(f"access.log renamed, {how}: there is a new one after {ms(time.monotonic() - sent)}")
        self.wait(lambda: self.log.stat().st_size > 0, "the new access log has lines")

    def refuse(self) -> None:
        """A restart with a configuration that Envoy does not understand."""
        # In place, since the container has mounted the file.
        with (FOLDER / "envoy.yaml").open("a") as config:
            config.write("\nno_field_of_envoy: 1\n")
        sent = time.monotonic()
        how = self.place.signal(signal.SIGHUP)
        self.wait(lambda: REFUSED in self.place.said(), "the bad configuration is refused")
        took = time.monotonic() - sent
        self.wait_for_live(RESTARTS)
        say(f"envoy.yaml broken, {how}: refused after {ms(took)}, epoch {RESTARTS} serves on")

    def stop_load(self) -> None:
        self.report.counted = [generator.stop() for generator in self.generators]

    def stop(self) -> None:
        self.place.check()
        self.report.exit_code, self.report.stop_took = self.place.stop()
        say(f"stopped with exit code {self.report.exit_code} after {ms(self.report.stop_took)}")
        # Envoy buffers lines, and has now written the last of them.
        self.report.rotated_lines, self.report.new_lines = lines(self.log.with_suffix(".log.1")), lines(self.log)

    def clean_up(self) -> None:
        for generator in self.generators:
            generator.kill()
        self.place.clean_up()

    def wait_for_live(self, epoch: int) -> None:
        self.wait(lambda: envoy.is_live(self.ports.admin, epoch), f"epoch {epoch} is LIVE")

    def wait(self, condition, what: str, within: float = PATIENCE) -> None:
        """No wait goes on when the restarter or a generator has ended."""
        until(condition, within, what, [self.place.check, *(generator.check for generator in self.generators)])


def say(line: str) -> None:
    print(f"demo: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
