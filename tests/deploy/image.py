"""Builds the image without Docker, and runs it as it is meant to run: buildah, debootstrap and a mount namespace.

The base stands in for the official Python image, which cannot be fetched everywhere: a Debian with python3 and venv.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
BASE: Final = "localhost/python"
IMAGE: Final = "localhost/driftwarden"
ENTER: Final = """
set -eu
root=$1 state=$2 etc=$3
shift 3
mount --bind "$root" "$root"
mount --bind "$state" "$root/var/lib/driftwarden"
mount --bind "$etc" "$root/etc/driftwarden"
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""
"""The image with a read-only root: only the state folder can be written to."""


def lacking() -> str | None:
    """Why no image can be built here; None if it can."""
    missing = [name for name in ("buildah", "debootstrap", "unshare", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None if os.geteuid() == 0 else "only root can build and mount here"


class Builder:
    """Buildah with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._options = ("--root", str(folder / "store"), "--runroot", str(folder / "run"))

    def do(self, *arguments: str) -> str:
        command = ["buildah", *self._options, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.strip()

    def base(self) -> None:
        """Make the base image."""
        rootfs = self._folder / "rootfs"
        include = "--include=python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", include, "stable", str(rootfs), *_mirror()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
        (self._folder / "Base").write_text("FROM scratch\nCOPY rootfs /\n", "utf-8")
        self.do("build", "--quiet", "--tag", BASE, "--file", str(self._folder / "Base"), str(self._folder))
        shutil.rmtree(rootfs)

    def build(self) -> dict[str, Any]:
        """Make the image of the checkout; its configuration."""
        where = ROOT / "deploy" / "docker" / "Dockerfile"
        own = ["--secret", "id=pip,src=/etc/pip.conf"] if Path("/etc/pip.conf").is_file() else []
        certificates = ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]  # of the machine's way to the package index
        given = ["--build-arg", f"PYTHON={BASE}", "--ignorefile", f"{where}.dockerignore", "--format", "docker"]
        options = ["--isolation", "chroot", *given, *own, *certificates]
        self.do("build", *options, "--tag", IMAGE, "--file", str(where), ".")
        found: dict[str, Any] = json.loads(self.do("inspect", "--type", "image", IMAGE))["Docker"]["config"]
        return found

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """The image's files."""
        container = self.do("from", IMAGE)
        try:
            yield Path(self.do("mount", container))
        finally:
            self.do("rm", container)


def _mirror() -> list[str]:
    """Where this machine gets Debian from, as debootstrap wants it."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return found[:1]


def command(config: dict[str, Any], mounted: Path, state: Path, etc: Path, arguments: list[str]) -> list[str]:
    """What a container engine would run, without capabilities and under the image's user and environment."""
    user, _, group = config["User"].partition(":")
    drop = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups"]
    become = ["setpriv", f"--reuid={user}", f"--regid={group}", *drop, "--", "env", "-i", *config["Env"]]
    enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]
    return [*enter, str(mounted), str(state), str(etc), *become, *arguments]
