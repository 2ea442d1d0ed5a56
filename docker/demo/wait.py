"""Waiting for a condition under a bound, and the one way in which the demo fails."""

import time


class Failure(Exception):
    """What went wrong, as a sentence for the person who runs the demo."""


def until(condition, within: float, what: str, watch=()) -> None:
    """Waits until `condition()` holds, for so many seconds at most.

    `watch` are checks that raise a Failure as soon as waiting has become pointless.
    """
    begin = time.monotonic()
    while not condition():
        for check in watch:
            check()
        if time.monotonic() - begin > within:
            raise Failure(f"waited {within:g} s in vain until {what}")
        time.sleep(0.005)
