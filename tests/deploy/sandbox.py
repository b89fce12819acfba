"""Runs a command under the system call filter of a systemd unit: ``python -m tests.deploy.sandbox UNIT COMMAND``.

Read from the unit: SystemCallFilter, MemoryDenyWriteExecute, RestrictAddressFamilies and RestrictNamespaces. What they
mean in system calls is as systemd.exec(5) says; groups of calls are asked of ``systemd-analyze syscall-filter``.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000
EPERM: Final = 1
ENOSYS: Final = 38
EQUAL, MASKED_EQUAL = 4, 7
NAMESPACES: Final = 0x7E020080
"""CLONE_NEW* of all kinds."""
WRITE_AND_EXECUTE: Final = mmap.PROT_WRITE | mmap.PROT_EXEC
SHM_EXEC: Final = 0o100000


class Compare(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def lacking() -> str | None:
    """Why no filter can be made here; None if it can."""
    if shutil.which("systemd-analyze") is None:
        return "no systemd-analyze on this machine"
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return "no libseccomp on this machine"
    return None


def settings(unit: Path) -> dict[str, list[str]]:
    """Key -> values of a unit, sections left out."""
    made: dict[str, list[str]] = {}
    for line in unit.read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            made.setdefault(key, []).append(value)
    return made


def calls(names: list[str]) -> Iterator[str]:
    """System calls of groups and names."""
    for name in names:
        if not name.startswith("@"):
            yield name
            continue
        command = ["systemd-analyze", "syscall-filter", name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
        yield from calls([line.strip() for line in told if line.strip() and line.strip()[0] != "#"])


def allowed(unit: dict[str, list[str]]) -> set[str]:
    """System calls that a unit's filter lets through."""
    first, *others = unit["SystemCallFilter"]
    made = set(calls([*first.split(), "@default"]))
    for line in others:
        assert line[0] == "~", "after the list of what is allowed come lists of what is not"
        made -= set(calls(line[1:].split()))
    return made


def conditions(name: str, families: list[int]) -> list[list[Compare]]:
    """Arguments with which a call is let through: one of the lists must hold as a whole."""
    if name == "mmap":
        kept = (0, mmap.PROT_WRITE, mmap.PROT_EXEC)
        return [[Compare(2, MASKED_EQUAL, WRITE_AND_EXECUTE, protection)] for protection in kept]
    if name in {"mprotect", "pkey_mprotect"}:
        return [[Compare(2, MASKED_EQUAL, mmap.PROT_EXEC, 0)]]
    if name == "shmat":
        return [[Compare(2, MASKED_EQUAL, SHM_EXEC, 0)]]
    if name == "socket":
        return [[Compare(0, EQUAL, family, 0)] for family in families]
    return [[Compare(0, MASKED_EQUAL, NAMESPACES, 0)]] if name == "clone" else [[]]


def enter(path: Path) -> None:
    """Put this process and all that it starts under the filter of a unit."""
    unit = settings(path)
    assert unit["MemoryDenyWriteExecute"] == unit["RestrictNamespaces"] == ["yes"]
    families = [int(getattr(socket, name)) for name in unit["RestrictAddressFamilies"][0].split()]
    library: Any = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ERRNO | EPERM)))
    for name in allowed(unit) - {"clone3", "unshare", "setns"}:
        number = library.seccomp_syscall_resolve_name(name.encode())
        for comparisons in conditions(name, families) if number >= 0 else ():
            given = (Compare * len(comparisons))(*comparisons)
            assert library.seccomp_rule_add_array(context, ALLOW, number, len(comparisons), given) == 0, name
    clone3 = library.seccomp_syscall_resolve_name(b"clone3")  # its flags lie in memory, where no filter sees them
    assert library.seccomp_rule_add_array(context, ERRNO | ENOSYS, clone3, 0, None) == 0
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    enter(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted
