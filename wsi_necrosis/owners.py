"""Which process owns a folder, and whether it still works: `alive.<name>` in the folder says so."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ALIVE = "alive"


def write_owner(folder: Path, name: str) -> float:
    """Write that this process owns a folder, under the name that it has or will have.

    Returns
    -------
    float
        The file system's time, in seconds since 1970.
    """
    pid = os.getpid()
    facts = {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "started": _started(pid)}
    path = folder / f"{ALIVE}.{name}"
    path.write_text(json.dumps(facts), encoding="utf-8")
    return path.stat().st_mtime


def owner_of(folder: Path) -> dict[str, Any] | None:
    """Host and process of a folder's owner; empty where they cannot be read, None where the folder has no owner."""
    try:
        return dict(json.loads((folder / f"{ALIVE}.{folder.name}").read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):  # cut short by a full disk: only its age counts
        return {}


def is_gone(folder: Path, owner: Mapping[str, Any], now: float, silence_s: float) -> bool:
    """Whether a folder's owner has ended or is silent.

    Parameters
    ----------
    folder : Path
        The folder.
    owner : mapping
        As `owner_of` gave it.
    now : float
        Time of the file system, in seconds since 1970.
    silence_s : float
        The longest time in seconds between two signs of life.
    """
    try:
        age = now - (folder / f"{ALIVE}.{folder.name}").stat().st_mtime
    except FileNotFoundError:  # taken over by another, or ended by itself
        return False
    return age > silence_s or (owner.get("machine") == _machine() and not _runs(owner))


def _runs(owner: Mapping[str, Any]) -> bool:
    """Whether a process of the same machine still runs; its number may belong to another one by now."""
    try:
        os.kill(owner["pid"], 0)
    except PermissionError:
        pass
    except OSError:
        return False
    return bool(_started(owner["pid"]) == owner["started"])


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; None where it has ended, or the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]  # a process that has ended may wait for its parent to notice


def _machine() -> str:
    """Name of the machine, its start, and the container: where numbers of processes mean the same."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)
