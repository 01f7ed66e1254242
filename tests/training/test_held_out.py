from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.samples import N, V, X, samples
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.settings.evaluation import load_evaluation_settings
from wsi_necrosis.settings.train import TrainSettings, load_train_settings
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.training.crop_labels import LeftOut
from wsi_necrosis.training.figures import case_table, crop_table, tile_table
from wsi_necrosis.training.held_out import HeldOutSummary, summarise_held_out
from wsi_necrosis.training.leave_case_out import HeldOut
from wsi_necrosis.training.quantity import measure_quantity
from wsi_necrosis.training.samples import Samples
from wsi_necrosis.training.temperature import calibrate_nested, fit_temperature

BINS = load_evaluation_settings().calibration_bins
MATERIALS = ("non_tumour", "non_viable", "viable")


@pytest.fixture(scope="module")
def settings() -> TrainSettings:
    return load_train_settings(None, ["fit.test_seeds=[3, 4, 5]", "network.members=2"])


@pytest.fixture(scope="module")
def some() -> Samples:
    """Two crops of each of 18 painted tiles of three cases, and a tile of glass."""
    labels = [(case, label) for case in "ABC" for label in (N, X, V) for _ in range(2)] + [("C", N)]
    rng = np.random.default_rng(1)
    pixels = [phantom_tiles(MATERIALS[label], 2, 32, rng) for _, label in labels[:-1]] + [
        phantom_tiles("glass", 2, 32, rng)
    ]
    return replace(samples(*labels, crops=2), pixels=np.concatenate(pixels))


@pytest.fixture(scope="module")
def held(some: Samples) -> HeldOut:
    """Predictions that are mostly right and overconfident."""
    rng = np.random.default_rng(2)
    logits = 3 * some.truth + 2 * rng.standard_normal((3, len(some), 3))
    prob: NDArray[np.float64] = np.exp(4 * logits)
    return HeldOut(prob / prob.sum(axis=2, keepdims=True), np.full((3, len(some), 2), 0.5), {})


@pytest.fixture(scope="module")
def found(some: Samples, held: HeldOut, settings: TrainSettings) -> HeldOutSummary:
    return summarise_held_out(some, held, settings)


def test_figures_are_of_ensembles_of_the_size_that_ships(found: HeldOutSummary) -> None:
    """Three pairs of three seeds."""
    metrics = found.metrics
    assert (metrics["seeds"], metrics["members"], metrics["ensembles"]) == ([3, 4, 5], 2, 3)
    assert (metrics["n_tiles"], metrics["n_crops"], metrics["calibration_bins"]) == (19, 38, BINS)


def test_tables_are_before_calibration_and_after_that_by_other_cases(
    found: HeldOutSummary, some: Samples, held: HeldOut, settings: TrainSettings
) -> None:
    pairs = [held.prob[[0, 1]], held.prob[[0, 2]], held.prob[[1, 2]]]
    before = np.stack([pair.mean(axis=0) for pair in pairs])
    after = calibrate_nested(before, some, settings.calibration)
    for prob, prefix in ((before, "uncalibrated_"), (after, "")):
        assert found.metrics[f"{prefix}tile"] == tile_table(some, prob, BINS)
        assert found.metrics[f"{prefix}crop"] == crop_table(some, prob, BINS)
    assert found.metrics["tile"] != found.metrics["uncalibrated_tile"]
    assert found.metrics["cases"] == case_table(some, before)


def test_the_temperatures_are_fitted_to_all_cases(
    found: HeldOutSummary, some: Samples, held: HeldOut, settings: TrainSettings
) -> None:
    assert found.calibration == fit_temperature(held.ensembles(2), some.truth, 3, settings.calibration)
    assert found.calibration != Temperature()
    assert found.calibration.value > 1


def test_percent_viable_is_measured_on_uncalibrated_ensembles(
    found: HeldOutSummary, some: Samples, held: HeldOut
) -> None:
    expected = measure_quantity(some, held.ensembles(2), load_evaluation_settings().seed)
    assert expected.quantity is not None
    assert found.quantity == expected.quantity
    assert found.metrics["simulation"] == expected.figures


def test_the_limit_leaves_a_share_of_left_out_crops_with_tissue_beyond(
    found: HeldOutSummary, settings: TrainSettings
) -> None:
    """36 crops hold tissue; the two of glass do not say what tissue looks like."""
    assert found.metrics["crops_without_tissue"] == 2
    assert found.metrics["abstained_share"] == pytest.approx(2 / 36)
    assert set(found.metrics["abstained"]) == {"A", "B", "C"}
    by_case = [share["all"] for share in found.metrics["abstained"].values()]
    assert np.mean(by_case) == pytest.approx(found.metrics["abstained_share"])


def test_a_smaller_share_to_keep_sets_a_lower_limit(
    found: HeldOutSummary, some: Samples, held: HeldOut, settings: TrainSettings
) -> None:
    ood = settings.ood.model_copy(update={"keep": 0.6})
    strict = summarise_held_out(some, held, settings.model_copy(update={"ood": ood}))
    assert strict.ood.limit < found.ood.limit
    assert strict.metrics["abstained_share"] > 0.3
    assert strict.metrics["tile"] == found.metrics["tile"]


@pytest.mark.parametrize(("members", "expected"), [(1, (1, 3)), (2, (2, 3)), (3, (3, 1))])
def test_ensembles_are_all_choices_of_the_seeds(
    members: int, expected: tuple[int, int], some: Samples, held: HeldOut, settings: TrainSettings
) -> None:
    changed = settings.model_copy(
        update={"network": settings.network.model_copy(update={"members": members})}
    )
    metrics = summarise_held_out(some, held, changed).metrics
    assert (metrics["members"], metrics["ensembles"]) == expected
    assert (metrics["tile"]["brier"]["sd"] > 0) == (expected[1] > 1)


def test_seeds_that_are_too_few_make_one_smaller_ensemble(
    some: Samples, held: HeldOut, settings: TrainSettings
) -> None:
    changed = settings.model_copy(update={"network": settings.network.model_copy(update={"members": 3})})
    two = HeldOut(held.prob[:2], held.gate[:2], {})
    metrics: dict[str, Any] = dict(summarise_held_out(some, two, changed).metrics)
    assert (metrics["members"], metrics["ensembles"]) == (2, 1)


def test_crops_that_do_not_inherit_their_label_are_counted(
    some: Samples, held: HeldOut, settings: TrainSettings
) -> None:
    counted = replace(some, left_out={"A": {"viable": LeftOut(cut=9, left_out=2)}})
    metrics = summarise_held_out(counted, held, settings).metrics
    assert metrics["crops_left_out"] == {"A": {"viable": {"cut": 9, "left_out": 2}}}
