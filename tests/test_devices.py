"""The same on the processor and on a GPU: each test runs on both, and is skipped where there is no GPU.

    python -m pytest -m gpu

runs those on the GPU alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.devices import DEVICES, needs_gpu
from tests.helpers.models import save_random_model
from tests.helpers.runs import WAYS, run
from tests.helpers.training_tiles import painted_tiles, tiny
from wsi_necrosis.model.backend import REFERENCE, Backend
from wsi_necrosis.model.backend_check import TOLERANCE, fixed_tiles
from wsi_necrosis.model.checkpoint import load_tensors
from wsi_necrosis.model.loading import largest_difference
from wsi_necrosis.model.tile_model import TileModel
from wsi_necrosis.model.torch_runner import TorchRunner, build_network, compute_dtype
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.fit import ResumePoint, fit, predict
from wsi_necrosis.training.samples import SampleCache, intra_op_threads

FLOAT32 = ("model.backend=torch", "model.dtype=float32")
POINTS = 0.1  # of percent viable
TILE_MIB, LIMIT_MIB = 300, 1024  # memory that a tile asks for, and what there is: enough for three


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "phantom.tiff"
    write_phantom(path, np.random.default_rng(7), side_mm=1.0)
    return path


@pytest.fixture(scope="module")
def by_processor(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> SlideReport:
    return run(slide, tmp_path_factory.mktemp("processor") / "slide", *FLOAT32, "model.device=cpu")


def assert_agrees(report: SlideReport, reference: SlideReport, tolerance: float) -> None:
    found, expected = report.scores(), reference.scores()
    np.testing.assert_array_equal(found.state, expected.state)
    scored = expected.state == CellState.SCORED
    assert scored.any()
    assert np.abs(found.prob - expected.prob)[scored].max() <= tolerance
    assert report.percent_viable == pytest.approx(reference.percent_viable, abs=POINTS)


@pytest.mark.parametrize("how", [WAYS[0], pytest.param(WAYS[1], marks=pytest.mark.slow)])
@pytest.mark.parametrize("device", DEVICES)
def test_a_slide_has_the_probabilities_of_the_processor(
    slide: Path, by_processor: SlideReport, tmp_path: Path, device: str, how: list[str]
) -> None:
    """By threads of this process, and by worker processes; 64 tiles at a time, as a GPU takes them."""
    report = run(slide, tmp_path / "out", *FLOAT32, f"model.device={device}", "model.batch_tiles=64", *how)
    inputs = report.result["provenance"]["inputs"]["backend"]
    assert (inputs["name"], inputs["device"], inputs["dtype"]) == ("torch", device, "float32")
    assert json.loads((report.folder / "perf.json").read_text())["tiles"] == report.result["n_tiles"]
    assert_agrees(report, by_processor, TOLERANCE["float32"])


@pytest.mark.parametrize("device", DEVICES)
def test_the_device_that_is_asked_for_is_the_one_that_computes(
    slide: Path, tmp_path: Path, device: str
) -> None:
    seen = set[str]()

    class Watched(nn.Module):
        def forward(self, tiles: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
            seen.add(tiles.device.type)
            return torch.full((len(tiles), 3), 1 / 3, device=tiles.device), z[:, :2]

    tiles, z = np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 2), np.float32)
    prob, _ = TorchRunner(Watched(), Backend("torch", device, "float32"))(tiles, z)
    assert prob.shape == (3, 3)
    assert seen == {device}


@needs_gpu
def test_auto_takes_the_gpu(slide: Path, by_processor: SlideReport, tmp_path: Path) -> None:
    report = run(slide, tmp_path / "out", "model.device=auto")
    backend = report.result["provenance"]["inputs"]["backend"]
    assert (backend["name"], backend["device"], backend["batch_tiles"]) == ("torch", "cuda", 64)
    assert_agrees(report, by_processor, TOLERANCE[backend["dtype"]])


class Hungry(nn.Module):
    """Means of colours; takes memory for each tile, of a GPU in earnest, of the processor as if."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3))
        self.seen: list[int] = []

    def forward(self, tiles: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(len(tiles))
        mib = TILE_MIB * len(tiles)
        if tiles.device.type == "cpu" and mib > LIMIT_MIB:
            raise torch.cuda.OutOfMemoryError("as if")
        if tiles.device.type == "cuda":
            torch.empty(mib << 20, dtype=torch.uint8, device=tiles.device)
        return (tiles.float().mean(dim=(1, 2)) @ self.weight / 255).softmax(dim=1), z[:, :2]


@contextmanager
def little_memory(device: str) -> Iterator[None]:
    """A GPU of which this process may take no more than `LIMIT_MIB` beside what it has."""
    if device != "cuda":
        yield
        return
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (LIMIT_MIB << 20)) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_that_is_too_large_for_the_memory_is_halved(device: str) -> None:
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    z = rng.normal(size=(8, 2)).astype(np.float32)
    network = Hungry()
    runner = TorchRunner(network, Backend("torch", device, "float32"))
    with little_memory(device):
        prob, gate = runner(tiles, z)
        assert network.seen == [8, 4, 2, 2, 2, 2]
        runner(tiles[:4], z[:4])
    assert network.seen[6:] == [2, 2]  # what fitted is kept
    expected = torch.tensor(tiles).float().mean(dim=(1, 2)).div(255).softmax(dim=1).numpy()
    np.testing.assert_allclose(prob, expected, atol=1e-5)
    np.testing.assert_array_equal(gate, z)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_number_format_keeps_probabilities_within_its_tolerance(
    device: str, dtype: str, tmp_path: Path
) -> None:
    spec = save_random_model(tmp_path, "gate")
    network = build_network(spec, load_tensors(tmp_path, spec))
    expected = TileModel(spec, TorchRunner(network, REFERENCE)).predict(*fixed_tiles(spec)).prob
    again = build_network(spec, load_tensors(tmp_path, spec))
    found = TileModel(spec, TorchRunner(again, Backend("torch", device, dtype))).predict(*fixed_tiles(spec))
    difference = np.abs(found.prob - expected).max()
    assert difference <= TOLERANCE[dtype]
    assert difference > 0 or dtype == "float32"


@needs_gpu
@pytest.mark.parametrize("name", ["default", "fast"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_shipped_model_keeps_its_probabilities_on_a_gpu(name: str, dtype: str) -> None:
    assert largest_difference(name, Backend("torch", "cuda", dtype)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("tune", ["frozen", "full"])
@pytest.mark.parametrize("device", DEVICES)
def test_an_epoch_of_training_is_saved_resumed_and_used(device: str, tune: str, tmp_path: Path) -> None:
    """In bfloat16 on a GPU; what was fitted comes back to the processor, and a finished state adds no epoch."""
    settings = tiny("fit.epochs=1", f"fit.device={device}", f"fit.tune={tune}", "crops.per_side=1")
    with intra_op_threads(1):
        samples = SampleCache(painted_tiles(tmp_path, each=1)).samples(settings)
        backbone = initial_backbone(settings.network, 1) if tune == "full" else None
        state = ResumePoint(tmp_path / "state" / "fit.pt", 1)
        fitted = fit(samples, backbone, settings, 1, state)
        again = fit(samples, backbone, settings, 1, state)
        prob = predict(fitted, samples, settings).prob
    if backbone is not None:
        learned = dict(fitted.backbone.named_parameters())
        assert any(not torch.equal(value, learned[name]) for name, value in backbone.named_parameters())
    assert len(fitted.history) == len(again.history) == 1
    assert np.isfinite(fitted.history[0][:-1]).all()
    assert {p.device.type for p in fitted.classifier.parameters()} == {"cpu"}
    assert compute_dtype(device) == ("bfloat16" if device == "cuda" else "float32")
    np.testing.assert_allclose(prob.sum(axis=1), 1, atol=1e-5)
