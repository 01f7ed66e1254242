from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import StoreError
from wsi_necrosis.metrics.curves import reliability, roc_curve
from wsi_necrosis.metrics.figures import confusion, tile_figures
from wsi_necrosis.pipelines.evaluation import plots

CAPTION = "48 tiles of 3 cases, one case left out at a time, seeds 0 to 4. " * 3
LABELS = np.repeat([0, 1, 2], 16)
Draw = Callable[[Path], None]


def probabilities(seed: int) -> NDArray[np.float64]:
    prob = np.random.default_rng(seed).dirichlet((1, 1, 1), 48) + 0.5 * np.eye(3)[LABELS]
    return prob / prob.sum(axis=1, keepdims=True)


def confusion_plot(path: Path, seed: int = 0) -> None:
    table = confusion(LABELS, probabilities(seed).argmax(axis=1))
    plots.confusion_plot(path, table, "Image and radiomics", CAPTION)


def roc_plot(path: Path, seed: int = 0, kept: tuple[str, ...] = CLASSES) -> None:
    prob = probabilities(seed)
    figures = tile_figures(LABELS, prob)
    curves = {name: roc_curve(at == LABELS, prob[:, at]) for at, name in enumerate(CLASSES) if name in kept}
    plots.roc_plot(path, curves, {name: figures[f"auc_{name}"] for name in kept}, CAPTION)


def reliability_plot(path: Path, seed: int = 0, bins: int = 10) -> None:
    prob = probabilities(seed)
    sharp = prob**3 / (prob**3).sum(axis=1, keepdims=True)
    plots.reliability_plot(path, reliability(LABELS, sharp, bins), reliability(LABELS, prob, bins), CAPTION)


def fit(seed: int, epochs: int) -> dict[str, ArrayLike]:
    keys = ("loss", "coarse", "fine", "s_coarse", "s_fine")
    values = np.random.default_rng(seed).random((len(keys), epochs)).cumsum(axis=1)
    return {"epoch": list(range(1, epochs + 1)), **{key: -row for key, row in zip(keys, values, strict=True)}}


def learning_plot(path: Path, seed: int = 0, epochs: tuple[int, ...] = (20, 14, 17)) -> None:
    history = {f"case {k}": fit(seed + k, n) for k, n in enumerate(epochs)}
    plots.learning_plot(path, history, CAPTION)


def gate_plot(path: Path, seed: int = 0, labels: NDArray[np.int64] = LABELS) -> None:
    weight = np.random.default_rng(seed).random(labels.size)
    plots.gate_plot(path, np.stack([1 - weight, weight], axis=1), labels, CAPTION)


ALL: dict[str, Callable[..., None]] = {
    "confusion": confusion_plot,
    "roc": roc_plot,
    "reliability": reliability_plot,
    "learning": learning_plot,
    "gate": gate_plot,
}
EDGE_CASES: dict[str, Draw] = {
    "confusion without a class": lambda path: plots.confusion_plot(
        path, [[0.5, 1144.25, 0], [0, 0, 0], [1, 0, 1]], "Means", "One seed."
    ),
    "roc without a class": partial(roc_plot, kept=CLASSES[:2]),
    "reliability in one bin": partial(reliability_plot, bins=1),
    "learning of one epoch": partial(learning_plot, epochs=(1,)),
    "gate without a class": partial(gate_plot, labels=np.array([0, 0, 2])),
}


@pytest.mark.parametrize("name", ALL)
def test_equal_input_gives_equal_bytes(tmp_path: Path, name: str) -> None:
    first, again, other = (tmp_path / f"{k}.png" for k in range(3))
    for path, seed in ((first, 0), (again, 0), (other, 5)):
        ALL[name](path, seed)
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()
    assert sorted(tmp_path.iterdir()) == [first, again, other]


@pytest.mark.parametrize("draw", [*ALL.values(), *EDGE_CASES.values()], ids=[*ALL, *EDGE_CASES])
def test_pictures_are_1800_px_wide_and_nothing_is_cut(tmp_path: Path, draw: Draw) -> None:
    path = tmp_path / "picture.png"
    draw(path)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
        assert (picture.format, set(picture.info)) == ("PNG", {"dpi"})
    assert pixels.shape[1] == 1800
    assert 800 < pixels.shape[0] <= 1200
    assert path.stat().st_size < 400_000
    for edge in (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:]):
        assert (edge == 255).all()
    assert (pixels < 128).mean() > 0.002


def test_settings_of_matplotlib_stay_as_they_were(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    gate_plot(tmp_path / "gate.png")
    assert dict(mpl.rcParams) == before


def test_fits_that_stop_early_leave_the_rest() -> None:
    fits = {
        "a": {"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0]},
        "b": np.array([(1, 5.0), (2, 4.0)], dtype=[("epoch", int), ("loss", float)]),
    }
    epoch, values = plots._over_fits(fits, "loss")
    assert epoch.tolist() == [1, 2, 3]
    assert np.nanmean(values, axis=0).tolist() == [4, 3, 1]
    assert np.isnan(values[1, 2])


@pytest.mark.parametrize(("value", "text"), [(0.5, ".50"), (1.0, "1.00"), (0.996, "1.00"), (0.0, ".00")])
def test_digits(value: float, text: str) -> None:
    assert plots._area(value) == f"AUC {text}"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=re.escape(str(tmp_path / "no" / "gate.png"))):
        gate_plot(tmp_path / "no" / "gate.png")
