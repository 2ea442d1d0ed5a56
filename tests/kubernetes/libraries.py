"""The libraries of requirements.txt, below target/, fetched from PyPI where they are missing.

To import this module is to have them on the path.
"""

import fcntl
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "target"
LIBRARIES = TARGET / "kubernetes-libraries"
# Says what they were installed from, so that a new pin is fetched anew.
ORIGIN = LIBRARIES / "origin"


def fetch() -> pathlib.Path:
    """Returns their folder, filled."""
    wanted = f"{sys.version}\n" + (HERE / "requirements.txt").read_text()
    TARGET.mkdir(exist_ok=True)
    # Trials run side by side, and one of them fetches.
    with (TARGET / "kubernetes-libraries.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ORIGIN.exists() and ORIGIN.read_text() == wanted:
            return LIBRARIES
        ORIGIN.unlink(missing_ok=True)
        # No virtual environment, since Debian's Python cannot make one by itself. Wheels only:
        # a source package would run its own code here.
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "--quiet"]
        done = subprocess.run(
            [*pip, "install", "--root-user-action=ignore", "--no-deps", "--only-binary", ":all:"]
            + ["--requirement", str(HERE / "requirements.txt"), "--upgrade", "--target", str(LIBRARIES)],
            stdout=sys.stderr,
        )
        if done.returncode != 0:
            sys.exit("pip could not fetch what reads manifests (Python 3 needs its pip for this)")
        ORIGIN.write_text(wanted)
    return LIBRARIES


sys.path.insert(0, str(fetch()))
