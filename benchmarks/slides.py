"""Slides to measure on, made once and kept, and a description of the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dask.system import CPU_COUNT

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "build" / "benchmarks"
CELL_PX = 1024  # of a montage's cell


@dataclass(frozen=True)
class Montage:
    """A montage on disk, and what it took to make it."""

    path: Path
    cells: int
    bytes: int
    seconds: float

    @property
    def side_px(self) -> int:
        return self.cells * CELL_PX


def data_folder() -> Path:
    return Path(os.environ.get("WSI_NECROSIS_DATA", ROOT.parent / "shared" / "data"))


def make_montage(
    path: Path,
    cells: int,
    seed: int = 0,
    offset: int = 0,
    *,
    tiles: Path | None = None,
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """Write a montage of labelled tiles with the data folder's tool, and give its truth; `more` are its options."""
    data = data_folder()
    tool = data.parent / "tools" / "montage.py"
    options = ["--cells", str(cells), "--seed", str(seed), "--offset", str(offset), *more]
    folder = tiles or data / "tcia_os"
    command = [sys.executable, str(tool), "--tiles", str(folder), "--out", str(path), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    truth: dict[str, Any] = json.loads(path.with_suffix(".truth.json").read_text())
    return truth


def kept_montage(scratch: Path, cells: int) -> Montage:
    """The montage of that many cells in a scratch folder; made only if it is missing."""
    path = scratch / f"montage-{cells}.svs"
    record = scratch / f"montage-{cells}.json"  # written last: where it exists, the slide is complete
    if not record.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        make_montage(path, cells)
        made = Montage(path, cells, path.stat().st_size, round(time.perf_counter() - start, 1))
        record.write_text(json.dumps(asdict(made) | {"path": path.name}))
    facts = json.loads(record.read_text())
    return Montage(**facts | {"path": path})


def processor() -> str:
    lines = _cpuinfo()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {CPU_COUNT} cores"


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself."""
    flags = {flag for line in _cpuinfo() if line.startswith("flags") for flag in line.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def stamp() -> str:
    """Machine, date and command, for the head of a table."""
    bf16 = "with" if has_bf16() else "without"
    command = f"python {Path(sys.argv[0]).parent.name}/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}"
    return f"{processor()}, {bf16} bf16 instructions, {datetime.now(UTC):%Y-%m-%d}, `{command.strip()}`"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
