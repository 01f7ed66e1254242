"""`wsi-necrosis doctor`: check what an analysis needs on this machine, and say what mends it."""

from __future__ import annotations

import importlib.util
import locale
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from wsi_necrosis.cache import VARIABLE, cache_folder

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
FREE_GB, SCARCE_GB = 20.0, 2.0  # of disk: for a batch of some hundred slides, and for a single one
MEMORY_GB, SCARCE_MEMORY_GB = 8.0, 3.0
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """What a check found, and the line that mends it."""

    status: str
    fact: str
    remedy: str = ""


Check = Callable[[Path], Finding]


def doctor(out: Path) -> tuple[str, int]:
    """Check each component.

    Parameters
    ----------
    out : Path
        Where results would be written.

    Returns
    -------
    (str, int)
        A line for each component, and the exit code: 1 where one of them fails, else 0.
    """
    found = {name: _probed(check, out) for name, check in CHECKS.items()}
    lines = []
    for name, each in found.items():
        lines.append(f"{each.status}  {name:<12} {each.fact}")
        if each.remedy:
            lines.append(f"      {'':<12} {each.remedy}")
    return "\n".join(lines), int(any(each.status == FAIL for each in found.values()))


def _probed(check: Check, out: Path) -> Finding:
    """What a check finds; one that breaks is a failure of its component."""
    try:
        return check(out)
    except Exception as error:  # noqa: BLE001  # the boundary of a probe: whatever breaks is what it looks for
        return Finding(
            FAIL, f"{type(error).__name__}: {error}", "install the package again: pip install -U wsi-necrosis"
        )


def check_python(_out: Path) -> Finding:
    """The interpreter's version."""
    said = f"{sys.version.split()[0]}, {sysconfig.get_platform()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding(FAIL, said, "install Python 3.11 or newer")
    return Finding(PASS, said)


def check_torch(_out: Path) -> Finding:
    """PyTorch computes, where it is installed."""
    from wsi_necrosis.model.backend import has_driver, missing_torch  # numpy, which `--help` must not import

    missing = missing_torch()
    if missing:
        alone = importlib.util.find_spec("openvino") is not None
        what = "GPUs, train and evaluate need it" if alone else "and OpenVINO neither: no model runs"
        idle = has_driver()  # of an NVIDIA GPU, which nothing else can use
        return Finding(
            (WARN if idle else PASS) if alone else FAIL,
            f"{', '.join(missing)} not installed; {what}",
            "pip install 'wsi-necrosis[torch]'" if idle or not alone else "",
        )
    import torch  # takes three seconds

    if float(torch.ones(8, 8).matmul(torch.ones(8, 8)).sum()) != 512:
        return Finding(
            FAIL, f"torch {version('torch')} multiplies wrongly", "install it again: pip install -U torch"
        )
    return Finding(PASS, f"torch {version('torch')}, {torch.get_num_threads()} threads")


def check_openvino(_out: Path) -> Finding:
    """OpenVINO, which some systems have no wheel of, starts and has a processor."""
    if importlib.util.find_spec("openvino") is None:
        return Finding(WARN, "not installed; torch takes 1.6 times as long", "pip install openvino")
    import openvino  # there is no wheel for some systems

    devices = ", ".join(openvino.Core().available_devices)
    return Finding(PASS, f"openvino {version('openvino')}: {devices}")


def check_tiatoolbox(_out: Path) -> Finding:
    """tiatoolbox, which is an extra, is installed."""
    if importlib.util.find_spec("tiatoolbox") is None:
        return Finding(
            WARN,
            "not installed; JPEG 2000 and OME-Zarr cannot be read",
            "pip install 'wsi-necrosis[tiatoolbox]'",
        )
    return Finding(PASS, f"tiatoolbox {version('tiatoolbox')}")


def check_slides(_out: Path) -> Finding:
    """A slide is written and read again, which needs OpenSlide and its decoders."""
    from wsi_necrosis.slides.phantom import write_phantom  # numpy and scipy, which `--help` must not import
    from wsi_necrosis.slides.slide import open_slide

    with tempfile.TemporaryDirectory() as folder:
        write_phantom(Path(folder) / "phantom.tiff", side_mm=0.2)
        with open_slide(Path(folder) / "phantom.tiff") as slide:
            pixels, reader = slide.thumbnail(64), slide.info.reader
    if pixels.std() < 1:
        return Finding(
            FAIL, f"a painted slide is read blank by {reader}", "pip install -U openslide-bin simplejpeg"
        )
    return Finding(PASS, f"openslide {version('openslide-bin')}; a painted slide is read by {reader}")


def check_gpu(_out: Path) -> Finding:
    """Whether torch can use a GPU."""
    if importlib.util.find_spec("torch") is None:
        return Finding(PASS, "not asked for, as torch is not installed; the processor is used")
    import torch  # as in `check_torch`

    if torch.cuda.is_available():
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info())
        return Finding(PASS, f"{torch.cuda.get_device_name()}, {free:.0f} of {total:.0f} GiB free")
    if torch.backends.mps.is_available():
        return Finding(PASS, "Apple GPU (mps)")
    if Path("/proc/driver/nvidia").exists():
        return Finding(
            WARN, "an NVIDIA driver, but torch finds no GPU", "install torch for CUDA: https://pytorch.org"
        )
    return Finding(PASS, "none; the processor is used")


def check_disk(out: Path) -> Finding:
    """The folder of results can be written, and has room."""
    nearest = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return Finding(FAIL, f"{nearest} cannot be written", "choose another folder with -o")
    free = shutil.disk_usage(nearest).free / 1e9
    said = f"{free:.0f} GB free at {nearest}"
    if free >= FREE_GB:
        return Finding(PASS, said)
    return Finding(WARN if free >= SCARCE_GB else FAIL, said, "make room, or choose another folder with -o")


def check_cache(_out: Path, environment: Mapping[str, str] = os.environ) -> Finding:
    """The cache folder, where converted networks are kept, can be written."""
    folder = cache_folder(environment)
    if _is_writable(folder):
        return Finding(PASS, str(folder))
    said = f"{folder} cannot be written; networks are converted again by every run"
    return Finding(WARN, said, f"export {VARIABLE}=/a/writable/folder")


def check_numba(_out: Path) -> Finding:
    """Compiled loops work, and are kept between runs."""
    from numba import config, njit  # takes a second

    double = njit(lambda value: value * 2)
    if double(21) != 42:
        return Finding(FAIL, f"numba {version('numba')} computes wrongly", "pip install -U numba")
    kept = Path(config.CACHE_DIR) if config.CACHE_DIR else Path(__file__).parent / "__pycache__"
    if _is_writable(kept) or _is_writable(Path.home() / ".cache" / "numba"):
        return Finding(PASS, f"numba {version('numba')}, cache {kept}")
    said = "compiled loops cannot be kept; every process compiles for half a minute"
    return Finding(WARN, said, "export NUMBA_CACHE_DIR=/a/writable/folder")


def check_memory(_out: Path) -> Finding:
    """Memory of the machine that is free."""
    import psutil  # comes with distributed; `--help` must not import it

    memory = psutil.virtual_memory()
    free, total = memory.available / 1e9, memory.total / 1e9
    said = f"{free:.1f} of {total:.1f} GB free"
    if free >= MEMORY_GB:
        return Finding(PASS, said)
    status = WARN if free >= SCARCE_MEMORY_GB else FAIL
    return Finding(status, said, "end other programs, or give fewer workers: --workers 1")


def check_locale(_out: Path) -> Finding:
    """Names of files with umlauts can be written."""
    encodings = {sys.getfilesystemencoding(), locale.getencoding()}
    if {each.lower().replace("-", "") for each in encodings} == {"utf8"}:
        return Finding(PASS, "UTF-8")
    said = f"{', '.join(sorted(encodings))}; names with letters beyond ASCII may fail"
    return Finding(WARN, said, "export LC_ALL=C.UTF-8 (or PYTHONUTF8=1)")


def _is_writable(folder: Path) -> bool:
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK)


CHECKS: Mapping[str, Check] = {
    "Python": check_python,
    "torch": check_torch,
    "OpenVINO": check_openvino,
    "slides": check_slides,
    "tiatoolbox": check_tiatoolbox,
    "GPU": check_gpu,
    "disk": check_disk,
    "cache": check_cache,
    "numba": check_numba,
    "memory": check_memory,
    "locale": check_locale,
}
