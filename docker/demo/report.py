"""What the demo saw: a table for the reader, and a verdict."""

import pathlib
from dataclasses import dataclass, field

import load

LEAST_PER_SECOND = 1000


@dataclass
class Handover:
    """One hot restart, in seconds since the signal was sent."""

    live: float
    older_gone: float


@dataclass
class Report:
    handovers: list[Handover] = field(default_factory=list)
    counted: list[load.Counted] = field(default_factory=list)
    rotated_lines: int = 0
    new_lines: int = 0
    exit_code: int = -1
    stop_took: float = 0

    @property
    def answered(self) -> int:
        return sum(counted.answered for counted in self.counted)

    def complaints(self) -> list[str]:
        """Why this was no success; nothing if it was one."""
        wrong = [f"{counted.failed} requests of {counted.name} failed" for counted in self.counted if counted.failed]
        # There may be more lines than answers: of what was under way when the load ended.
        missing = self.answered - self.rotated_lines - self.new_lines
        if missing > 0:
            wrong.append(f"{missing} lines of the access log are missing")
        if self.answered < LEAST_PER_SECOND * max(counted.seconds for counted in self.counted):
            wrong.append(f"fewer than {LEAST_PER_SECOND:,} requests a second, which shows little")
        if self.exit_code != 0:
            wrong.append(f"the exit code is {self.exit_code}, not 0")
        return wrong

    def table(self) -> str:
        rows = [f"{'requests':26}{'sent':>12}{'failed':>12}{'per second':>14}"]
        for counted in self.counted:
            rate = counted.sent / counted.seconds
            rows.append(f"{counted.name:26}{counted.sent:12,}{counted.failed:12,}{rate:14,.0f}")
        rows += ["", f"{'restarts':26}{'LIVE after':>12}{'older epoch gone after':>26}"]
        for epoch, handover in enumerate(self.handovers, 1):
            title = f"epoch {epoch - 1} to {epoch}"
            rows.append(f"{title:26}{ms(handover.live):>12}{handover.older_gone:24.1f} s")
        rows += ["", f"{'access log':26}{'lines':>12}{'answered':>12}"]
        rows.append(f"{'before and after SIGUSR1':26}{self.rotated_lines + self.new_lines:12,}{self.answered:12,}")
        rows += ["", f"{'stop':26}{'exit code':>12}{'after':>12}"]
        rows.append(f"{'SIGTERM':26}{self.exit_code:12}{ms(self.stop_took):>12}")
        return "\n".join(rows)


def lines(path: pathlib.Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
