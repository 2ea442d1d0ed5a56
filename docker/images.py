#!/usr/bin/env python3
"""Builds the images, on an Envoy base made without a registry, and prints their names.

An image that is there already, from the same files, is left alone, so that tests and
the demo may call this each time.
"""

import argparse
import contextlib
import hashlib
import io
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile

import fetch_envoy

DOCKER = pathlib.Path(__file__).resolve().parent
TARGET = DOCKER.parent / "target"
BINARY = TARGET / f"{platform.machine()}-unknown-linux-musl" / "release" / "hot-restarter"

RESTARTER = "hot-restarter"
BASE_SHELL = "hot-restarter/envoy-base:shell"
BASE_DISTROLESS = "hot-restarter/envoy-base:distroless"
ENVOY_SHELL = "hot-restarter/envoy:latest"
ENVOY_DISTROLESS = "hot-restarter/envoy:distroless"

# The label that remembers what an image was built from.
INPUTS = "hot-restarter.inputs"

# What of the base is no program or library: users for `--user`, and a /tmp for all.
PASSWD = "root:x:0:0:root:/:/bin/sh\nenvoy:x:101:101:envoy:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
GROUP = "root:x:0:\nenvoy:x:101:\nnogroup:x:65534:\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--binary", type=pathlib.Path, default=BINARY, help="the static hot-restarter")
    options.add_argument("--base-only", action="store_true", help="build the Envoy bases and nothing else")
    chosen = options.parse_args()

    for image in build_bases():
        print(image)
    if not chosen.base_only:
        for image in build_images(chosen.binary):
            print(image)


def build_bases() -> list[str]:
    """The stand-ins for envoyproxy/envoy: Envoy with its libraries, without and with a shell."""
    envoy, busybox = fetch_envoy.fetch(), find_busybox()
    dockerfile = (DOCKER / "Dockerfile.base").read_bytes()
    distroless = Context()
    distroless.add_program("distroless/usr/local/bin/envoy", envoy, under="distroless")
    distroless.add_text("distroless/etc/passwd", PASSWD)
    distroless.add_text("distroless/etc/group", GROUP)
    distroless.add_folder("distroless/tmp", 0o1777)
    build(BASE_DISTROLESS, dockerfile, distroless, "--target=distroless")

    shell = distroless.copy()
    shell.add_program("shell/bin/busybox", busybox, under="shell")
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for applet in applets.stdout.split():
        shell.add_link(f"shell/bin/{applet}", "busybox")
    build(BASE_SHELL, dockerfile, shell, "--target=shell")
    return [BASE_DISTROLESS, BASE_SHELL]


def build_images(binary: pathlib.Path) -> list[str]:
    """The restarter alone, and the two examples on top of it; needs the bases."""
    if not binary.exists():
        sys.exit(f"there is no {binary} yet: `make` builds it")
    alone = Context()
    alone.add_file("hot-restarter", binary)
    build(RESTARTER, (DOCKER / "Dockerfile").read_bytes(), alone)

    for image, base, name in [
        (ENVOY_SHELL, BASE_SHELL, "Dockerfile.envoy"),
        (ENVOY_DISTROLESS, BASE_DISTROLESS, "Dockerfile.distroless"),
    ]:
        example = Context()
        for file in ("start_envoy.sh", "healthcheck.sh", "drain.sh", "envoy.yaml"):
            example.add_file(file, DOCKER / file)
        # The images it stands on are inputs like any file.
        example.depends_on(image_id(RESTARTER), image_id(base))
        build(image, (DOCKER / name).read_bytes(), example, f"--build-arg=BASE={base}")
    return [RESTARTER, ENVOY_SHELL, ENVOY_DISTROLESS]


class Context:
    """A build context that knows what it holds before any of it is read or sent."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[tarfile.TarInfo, pathlib.Path | bytes | None]] = {}
        self.also: tuple[str, ...] = ()

    def copy(self) -> "Context":
        twin = Context()
        twin.entries = dict(self.entries)
        return twin

    def depends_on(self, *what: str) -> None:
        self.also += what

    def add_file(self, name: str, source: pathlib.Path) -> None:
        entry = self._entry(name, 0o755 if os.access(source, os.X_OK) else 0o644)
        entry.size = source.stat().st_size
        self.entries[name] = (entry, source)

    def add_program(self, name: str, source: pathlib.Path, under: str) -> None:
        """A program and, at the paths it expects below `under`, the libraries it loads."""
        self.add_file(name, source)
        for library in libraries(source):
            self.add_file(f"{under}{library}", library)

    def add_text(self, name: str, text: str) -> None:
        entry = self._entry(name, 0o644)
        entry.size = len(text)
        self.entries[name] = (entry, text.encode())

    def add_folder(self, name: str, mode: int) -> None:
        entry = self._entry(name, mode)
        entry.type = tarfile.DIRTYPE
        self.entries[name] = (entry, None)

    def add_link(self, name: str, to: str) -> None:
        # An applet may have the name of a file that is there already: busybox itself.
        if name not in self.entries:
            entry = self._entry(name, 0o777)
            entry.type, entry.linkname = tarfile.SYMTYPE, to
            self.entries[name] = (entry, None)

    def fingerprint(self) -> str:
        """Changes when anything does; files go by size and time, for Envoy has 107 MB."""
        digest = hashlib.sha256(repr(self.also).encode())
        for name, (entry, content) in sorted(self.entries.items()):
            if isinstance(content, pathlib.Path):
                status = content.stat()
                content = f"{status.st_size} {status.st_mtime_ns}".encode()
            digest.update(repr((name, entry.mode, entry.linkname, content)).encode())
        return digest.hexdigest()

    def write(self, sink) -> None:
        with tarfile.open(fileobj=sink, mode="w|") as archive:
            for entry, content in self.entries.values():
                if isinstance(content, pathlib.Path):
                    with content.open("rb") as source:
                        archive.addfile(entry, source)
                else:
                    archive.addfile(entry, io.BytesIO(content or b""))

    @staticmethod
    def _entry(name: str, mode: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.mode = mode
        return entry


def build(image: str, dockerfile: bytes, context: Context, *options: str) -> None:
    """Builds `image` unless it was built from just this before."""
    fingerprint = hashlib.sha256(dockerfile + context.fingerprint().encode()).hexdigest()
    if image_property(image, f'{{{{index .Config.Labels "{INPUTS}"}}}}') == fingerprint:
        return
    print(f"building {image} …", file=sys.stderr)
    context = context.copy()
    context.add_text("Dockerfile", dockerfile.decode())
    command = ["docker", "build", "--quiet", "--force-rm", f"--tag={image}", f"--label={INPUTS}={fingerprint}"]
    builder = subprocess.Popen(
        command + [*options, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    # A builder that gives up early says itself why.
    with contextlib.suppress(BrokenPipeError):
        context.write(builder.stdin)
    said, _ = builder.communicate()
    if builder.returncode != 0:
        sys.exit(f"`docker build` of {image} failed:\n{said.decode(errors='replace')}")


def image_property(image: str, template: str) -> str:
    done = subprocess.run(["docker", "image", "inspect", "--format", template, image], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def image_id(image: str) -> str:
    return image_property(image, "{{.Id}}")


def libraries(program: pathlib.Path) -> list[pathlib.Path]:
    """The shared libraries that the dynamic linker would load for `program`; none if it is static."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True)
    if "not found" in done.stdout:
        sys.exit(f"{program} needs a library that is not here:\n{done.stdout}")
    return [pathlib.Path(path) for path in re.findall(r"(?:=> |^\s*)(/\S+)", done.stdout, re.MULTILINE)]


def find_busybox() -> pathlib.Path:
    """The shell of the base image: one file that is a whole userland."""
    if not shutil.which("busybox") and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing busybox-static …", file=sys.stderr)
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "busybox-static"]):
            subprocess.run(["apt-get", "--quiet", *command], stdout=sys.stderr)
    found = shutil.which("busybox")
    if not found:
        sys.exit("the Envoy base image needs a shell: please install busybox (Debian: busybox-static)")
    return pathlib.Path(found)


if __name__ == "__main__":
    main()
