"""The backend that runs a model: library, device and number format. Chosen by rule, never by timing.

Every other backend is compared with `REFERENCE`, torch in float32 on the processor. torch is needed for GPUs, for
training, and for models without a converted network; on a processor OpenVINO runs the others without it.
"""

from __future__ import annotations

import ctypes
import logging
import platform
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from wsi_necrosis.errors import MissingExtraError, UsageError
from wsi_necrosis.settings.run import ModelSettings

Device = Literal["auto", "cpu", "cuda", "mps"]

CPU_INFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
TORCH = ("torch", "torchvision", "timm")  # what a network in torch needs
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backend:
    """A library, the device it runs on, and the number format it computes in.

    Attributes
    ----------
    name : str
        "torch", or "openvino", which runs on the processor.
    device : str
        "cpu", "cuda" or "mps".
    dtype : str
        "float32", or "bfloat16" with sums in float32.
    """

    name: str = "torch"
    device: str = "cpu"
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.name} on {self.device} in {self.dtype}"


REFERENCE = Backend()
_INSTEAD_OF_TORCH = ", or give --set model.backend=openvino, where OpenVINO is installed"


def preferred_backend(settings: ModelSettings, *, has_backbone: bool) -> Backend:
    """The backend that settings ask for; on "auto", what the rule gives for this machine.

    OpenVINO where it is installed and the device is the processor, whether or not torch is installed, so that both
    give the same scores; bfloat16 where the device has instructions for it and the model has a backbone, which alone
    gains by it. Whether that changes a model's probabilities too much is tested by `loading.choose_backend`.

    Raises
    ------
    UsageError
        What was asked for is not available on this machine.
    """
    device = choose_device(settings.device)
    with_openvino = device == "cpu" and find_spec("openvino") is not None
    with_bfloat16 = has_backbone and has_bfloat16(device)
    name = ("openvino" if with_openvino else "torch") if settings.backend == "auto" else settings.backend
    dtype = ("bfloat16" if with_bfloat16 else "float32") if settings.dtype == "auto" else settings.dtype
    backend = Backend(name, device, dtype)
    require_backend(backend)
    return backend


def choose_device(wanted: Device | str) -> str:
    """The device to compute on; the only place that decides it.

    Raises
    ------
    UsageError
        The device is unknown, or not available on this machine.
    MissingExtraError
        It is a GPU, and torch is not installed.
    """
    if wanted == "auto":
        if has_driver() and not has_torch():
            _say_that_the_gpu_is_idle()
        return "cuda" if has_cuda() else "mps" if has_mps() else "cpu"
    there = {"cpu": lambda: True, "cuda": has_cuda, "mps": has_mps}
    if wanted not in there:
        raise UsageError(f"there is no device {wanted!r}; take auto, cpu, cuda or mps")
    if wanted != "cpu":
        require_torch(f"device {wanted!r}")
    if not there[wanted]():
        raise UsageError(f"device {wanted!r} is not available on this machine; take --device auto or cpu")
    return wanted


def has_torch() -> bool:
    """Whether torch, torchvision and timm are installed."""
    return not missing_torch()


def require_torch(purpose: str, *, otherwise: str = "", extra: str = "torch") -> None:
    """Refuse what needs torch where it is not installed.

    Parameters
    ----------
    purpose : str
        What needs it; the sentence begins with it.
    otherwise : str
        Another way out, for the sentence's end.
    extra : str
        The extra of this package that brings all that is needed for it.

    Raises
    ------
    MissingExtraError
        torch, torchvision or timm is not installed.
    """
    missing = missing_torch()
    if missing:
        raise MissingExtraError(
            f"{purpose} needs {', '.join(missing)}, not installed on {platform.node()}; "
            f"pip install 'wsi-necrosis[{extra}]'{otherwise}"
        )


def missing_torch() -> list[str]:
    """Those of `TORCH` that are not installed."""
    return [name for name in TORCH if find_spec(name) is None]


@cache
def _say_that_the_gpu_is_idle() -> None:
    """Once in a process."""
    log.warning(
        "there is an NVIDIA driver, but its GPU needs %s, not installed here, so that the processor is used; "
        "pip install 'wsi-necrosis[torch]'",
        ", ".join(missing_torch()),
    )


def has_driver() -> bool:
    """Whether NVIDIA's driver is installed."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def has_cuda() -> bool:
    """Whether there is a GPU that torch can use; torch is asked only where NVIDIA's driver is installed."""
    if not (has_driver() and has_torch()):
        return False
    import torch  # takes three seconds; not needed where there is no driver

    return torch.cuda.is_available()


def has_mps() -> bool:
    """Whether there is a GPU of Apple's that torch can use."""
    if platform.system() != "Darwin" or not has_torch():
        return False
    import torch  # as in `has_cuda`

    return torch.backends.mps.is_available()


def require_backend(backend: Backend) -> None:
    """Refuse a backend that is not available on this machine.

    Raises
    ------
    MissingExtraError
        OpenVINO or torch is not installed.
    UsageError
        The device is not there, has no bfloat16, or OpenVINO was asked to use it.
    """
    here = platform.node()
    choose_device(backend.device)
    if backend.name == "openvino" and backend.device != "cpu":
        raise UsageError(
            f"openvino runs on the processor, not on {backend.device}; give --device cpu, or --set model.backend=torch"
        )
    if backend.name == "openvino" and find_spec("openvino") is None:
        raise MissingExtraError(
            f"OpenVINO is not installed on {here}; pip install openvino there. Where that finds no version, as on "
            "Intel Macs and on Linux with ARM, take torch: pip install 'wsi-necrosis[torch]'"
        )
    if backend.name == "torch":
        require_torch(f"the backend {backend}", otherwise=_INSTEAD_OF_TORCH)
    if backend.dtype == "bfloat16" and not has_bfloat16(backend.device):
        raise UsageError(
            f"{backend.device} of {here} has no instructions for bfloat16; give --set model.dtype=float32"
        )


def has_bfloat16(device: str) -> bool:
    """Whether a device computes faster in bfloat16: a GPU that has it, or a processor with instructions for it."""
    if device == "cuda":
        import torch  # takes three seconds; needed for a GPU only

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(BFLOAT16_FLAGS & _processor_flags())


def device_name(device: str) -> str:
    """Name and CUDA version of a GPU, or name and instruction sets of a processor.

    Differences measured on one type of device do not hold for another.
    """
    if device == "cuda":
        import torch  # as in `has_bfloat16`

        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return f"{_processor('model name') or platform.processor()} {' '.join(sorted(_processor_flags()))}"


def _processor_flags() -> frozenset[str]:
    return frozenset(_processor("flags").split())


def _processor(field: str) -> str:
    """A field of the first processor in Linux's /proc/cpuinfo; empty on other systems."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
