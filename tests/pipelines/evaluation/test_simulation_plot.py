from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.samples import N, V, X, samples
from wsi_necrosis.pipelines.evaluation import simulation_plot as module
from wsi_necrosis.pipelines.evaluation.simulation_plot import found_plot
from wsi_necrosis.training.quantity import SimulatedQuantity, measure_quantity


@pytest.fixture(scope="module")
def simulated() -> SimulatedQuantity:
    of = samples(("3", N), ("3", X), ("4", X), ("4", V), ("48", V), ("48", N), crops=5)
    prob = 0.6 * of.truth + 0.4 * np.random.default_rng(1).dirichlet((1, 1, 1), (2, len(of)))
    return measure_quantity(of, prob, 1)


def pixels(path: Path, simulated: SimulatedQuantity) -> np.ndarray:
    assert simulated.quantity is not None
    found_plot(path, simulated.quantity, simulated.figures)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def share(picture: np.ndarray, colour: str) -> float:
    """Share of pixels of just this colour."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return float((picture == wanted).all(axis=-1).mean())


def test_each_group_is_drawn_in_a_colour_of_its_own(simulated: SimulatedQuantity, tmp_path: Path) -> None:
    picture = pixels(tmp_path / "found.png", simulated)
    assert picture.shape[1] == 1800
    drawn = [share(picture, colour) > 1e-5 for colour in module.COLOURS]
    assert drawn == [True, True, True, True, False, False]


def test_equal_figures_give_equal_bytes(simulated: SimulatedQuantity, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        pixels(tmp_path / name, simulated)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_limits_are_bands(simulated: SimulatedQuantity, tmp_path: Path) -> None:
    """Without them there is less grey."""
    assert simulated.quantity is not None
    bare = replace(
        simulated.quantity,
        soft=replace(simulated.quantity.soft, blank=None, full=None),
        hard=replace(simulated.quantity.hard, blank=None, full=None),
    )
    before = pixels(tmp_path / "with.png", simulated)
    after = pixels(tmp_path / "without.png", replace(simulated, quantity=bare))
    assert (after == 255).all(axis=-1).mean() > (before == 255).all(axis=-1).mean() + 0.02


def test_many_groups_have_no_legend(tmp_path: Path) -> None:
    """It would cover the plot."""
    cases = [(f"dead {at}", X) for at in range(3)] + [(f"alive {at}", V) for at in range(3)]
    of = samples(*cases, crops=3)
    found = measure_quantity(of, np.random.default_rng(1).dirichlet((1, 1, 1), (1, len(of))), 1)
    assert len(found.figures["by_group"]) == 15
    assert pixels(tmp_path / "many.png", found).shape[1] == 1800
