from __future__ import annotations

import ctypes
import pickle
from pathlib import Path

import pytest
import torch

from wsi_necrosis.errors import MissingExtraError, UsageError
from wsi_necrosis.model import backend as module
from wsi_necrosis.model.backend import (
    REFERENCE,
    Backend,
    choose_device,
    device_name,
    has_bfloat16,
    preferred_backend,
    require_backend,
)
from wsi_necrosis.model.torch_runner import compute_dtype, precision
from wsi_necrosis.settings.run import ModelSettings, load_settings

INTEL = (
    "processor : 0\nmodel name\t: Some Xeon\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16\nvmx flags : ept\n"
)
AMD = "processor : 0\nmodel name\t: Some EPYC\nflags\t\t: fpu avx2 fma\n"


def model_settings(*overrides: str) -> ModelSettings:
    return load_settings(overrides=["model.device=cpu", *overrides]).model


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A processor without bfloat16, as Linux describes it."""
    path = tmp_path / "cpuinfo"
    path.write_text(AMD)
    monkeypatch.setattr(module, "CPU_INFO", path)
    return path


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    there = module.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name in packages else there(name))


def test_auto_finds_a_device_and_a_missing_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("auto") in {"cpu", "cuda", "mps"}
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(module, "has_cuda", lambda: False)
    with pytest.raises(UsageError, match="'cuda' is not available"):
        choose_device("cuda")
    with pytest.raises(UsageError, match="no device 'gpu'"):
        choose_device("gpu")


@pytest.mark.parametrize("driver", [False, True])
def test_torch_is_asked_for_a_gpu_only_where_a_driver_is(
    driver: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing torch takes seconds."""

    def load(name: str | None) -> None:
        if not driver:
            raise OSError(name)

    calls = []
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: calls.append("torch") or True)
    assert module.has_cuda() is driver
    assert bool(calls) is driver


@pytest.mark.parametrize("has_backbone", [True, False])
def test_auto_takes_openvino_where_it_is_installed_with_torch_or_without(
    processor: Path, monkeypatch: pytest.MonkeyPatch, has_backbone: bool
) -> None:
    openvino = Backend("openvino", "cpu", "float32")
    assert preferred_backend(model_settings(), has_backbone=has_backbone) == openvino
    with monkeypatch.context() as patch:
        without(patch, "torch", "timm")
        assert preferred_backend(model_settings(), has_backbone=has_backbone) == openvino
    without(monkeypatch, "openvino")
    assert preferred_backend(model_settings(), has_backbone=has_backbone) == REFERENCE


@pytest.mark.parametrize(
    ("missing", "named"), [(["torch"], "torch"), (["timm", "torchvision"], "torchvision, timm")]
)
def test_without_torch_what_needs_it_is_refused_with_the_way_out(
    processor: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str], named: str
) -> None:
    without(monkeypatch, *missing)
    install = r"pip install 'wsi-necrosis\[torch\]'"
    with pytest.raises(MissingExtraError, match=rf"torch on cpu .* needs {named}, .*{install}.*=openvino"):
        preferred_backend(model_settings("model.backend=torch"), has_backbone=True)
    for device in ("cuda", "mps"):
        with pytest.raises(MissingExtraError, match=f"device '{device}' needs {named}, .*{install}"):
            choose_device(device)
    with pytest.raises(MissingExtraError, match=f"^train needs {named}, "):
        module.require_torch("train")
    without(monkeypatch, "openvino", *missing)
    with pytest.raises(MissingExtraError, match=rf"needs {named}, .*OpenVINO is installed"):
        preferred_backend(model_settings(), has_backbone=True)


def test_a_gpu_that_only_torch_could_use_is_said_to_be_idle(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    without(monkeypatch, "torch")
    module._say_that_the_gpu_is_idle.cache_clear()
    assert [choose_device("auto") for _ in range(3)] == ["cpu"] * 3
    (said,) = caplog.messages
    assert "NVIDIA driver, but its GPU needs torch" in said
    assert "pip install 'wsi-necrosis[torch]'" in said


def test_what_is_asked_for_is_taken(processor: Path) -> None:
    assert preferred_backend(model_settings("model.backend=torch"), has_backbone=True) == REFERENCE
    assert preferred_backend(model_settings("model.backend=openvino"), has_backbone=False).name == "openvino"


def test_bfloat16_is_for_processors_with_its_instructions(processor: Path) -> None:
    assert not has_bfloat16("cpu")
    assert not has_bfloat16("mps")
    with pytest.raises(UsageError, match=r"no instructions for bfloat16.*model.dtype=float32"):
        preferred_backend(model_settings("model.dtype=bfloat16"), has_backbone=True)
    processor.write_text(INTEL)
    assert has_bfloat16("cpu")
    assert preferred_backend(model_settings(), has_backbone=True).dtype == "bfloat16"
    assert preferred_backend(model_settings(), has_backbone=False).dtype == "float32"
    assert preferred_backend(model_settings("model.dtype=float32"), has_backbone=True).dtype == "float32"


def test_a_processor_is_known_by_name_and_instructions(processor: Path) -> None:
    assert device_name("cpu") == "Some EPYC avx2 fma fpu"
    processor.write_text(INTEL)
    assert device_name("cpu").startswith("Some Xeon amx_bf16 avx512_bf16")
    processor.unlink()  # another system than Linux
    assert not has_bfloat16("cpu")
    assert "avx" not in device_name("cpu")


def test_what_is_not_there_is_refused_with_the_way_out(
    processor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_backend(Backend("openvino", "cpu", "float32"))
    monkeypatch.setattr(module, "has_cuda", lambda: False)
    with pytest.raises(UsageError, match="'cuda' is not available"):
        require_backend(Backend("torch", "cuda", "bfloat16"))
    monkeypatch.setattr(module, "has_cuda", lambda: True)
    with pytest.raises(UsageError, match="openvino runs on the processor, not on cuda"):
        require_backend(Backend("openvino", "cuda", "float32"))
    without(monkeypatch, "openvino")
    with pytest.raises(MissingExtraError, match=r"pip install openvino .*'wsi-necrosis\[torch\]'"):
        require_backend(Backend("openvino", "cpu", "float32"))


def test_openvino_never_takes_over_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_cuda", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    settings = load_settings(overrides=["model.device=auto"]).model
    assert preferred_backend(settings, has_backbone=True) == Backend("torch", "cuda", "bfloat16")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert preferred_backend(settings, has_backbone=True) == Backend("torch", "cuda", "float32")


def test_a_backend_can_be_pickled_and_printed() -> None:
    backend = Backend("openvino", "cpu", "bfloat16")
    assert pickle.loads(pickle.dumps(backend)) == backend  # noqa: S301  # our own bytes
    assert str(backend) == "openvino on cpu in bfloat16"


def test_networks_compute_in_the_given_dtype() -> None:
    weights, x = torch.ones(3, 3), torch.ones(2, 3)
    for dtype, found in (("bfloat16", torch.bfloat16), ("float32", torch.float32), (None, torch.float32)):
        with precision("cpu", dtype):
            assert (x @ weights).dtype == found
    assert compute_dtype("cuda") == "bfloat16"
