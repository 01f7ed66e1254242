from __future__ import annotations

import json
import logging
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.executors import Inline
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import SettingsError
from wsi_necrosis.metrics.difference import paired_difference
from wsi_necrosis.metrics.figures import tile_figures
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.pipelines.evaluation.comparison import Comparison, Judged
from wsi_necrosis.pipelines.evaluation.evaluate import settings_of
from wsi_necrosis.settings.evaluation import EvaluationSettings, Variant
from wsi_necrosis.settings.train import TrainSettings
from wsi_necrosis.training.leave_case_out import FitSetup
from wsi_necrosis.training.quantity import measure_quantity
from wsi_necrosis.training.samples import SampleCache

SEEDS = (1, 2)


def variant(name: str = "other", **changes: Any) -> Variant:
    """A variant; its settings are written with __ for the dot."""
    tree = {dotted.replace("__", "."): value for dotted, value in changes.items()}
    return Variant(name=name, title=f"the {name} one", group="Any", set=tree)


@pytest.fixture(scope="module")
def settings(spec: ModelSpec, painted: Path) -> TrainSettings:
    return settings_of(spec, painted)


@pytest.fixture(scope="module")
def tiles(settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledTile, ...]:
    return read_tiles(settings.data, tmp_path_factory.mktemp("scratch"), Field(32, 1.0))


@pytest.fixture(scope="module")
def comparison(
    tiles: tuple[LabelledTile, ...], settings: TrainSettings, rules: EvaluationSettings
) -> Comparison:
    return Comparison(SampleCache(tiles), settings, rules)


@pytest.fixture(scope="module")
def main(comparison: Comparison, rules: EvaluationSettings) -> Judged:
    return comparison.judge(rules.variants[0], SEEDS)


@pytest.fixture(scope="module")
def flat(comparison: Comparison, rules: EvaluationSettings) -> Judged:
    return comparison.judge(
        next(variant for variant in rules.variants if variant.name == "image-flat"), SEEDS
    )


def test_a_pool_of_processes_changes_nothing(
    comparison: Comparison, main: Judged, flat: Judged, facts: dict[str, Any]
) -> None:
    """The evaluation was made with one, and written as JSON."""
    for judged, name in ((main, "itself"), (flat, "image-flat")):
        row = comparison.row(judged, main)
        assert row.pop("cost_s") > 0
        assert facts["variants"][name].pop("cost_s") > 0
        assert json.loads(json.dumps(row)) == facts["variants"][name]


def test_a_pool_is_given_each_fit(
    tiles: tuple[LabelledTile, ...], settings: TrainSettings, rules: EvaluationSettings
) -> None:
    pool = Inline()
    side_by_side: Executor = pool
    brief = variant(fit__epochs=1, network__fusion="image")
    with_pool = Comparison(SampleCache(tiles), settings, rules, side_by_side).judge(brief, (5, 6, 7))
    without = Comparison(SampleCache(tiles), settings, rules).judge(brief, (5, 6, 7))
    assert pool.jobs == 3 * 3  # seeds, cases
    np.testing.assert_array_equal(with_pool.held.prob, without.held.prob)


def test_figures_of_a_row_are_those_of_its_predictions(
    comparison: Comparison, main: Judged, flat: Judged, rules: EvaluationSettings
) -> None:
    row = comparison.row(flat, main)
    labels = np.array([tile.label for tile in flat.samples.tiles])
    found = [tile_figures(labels, prob, rules.calibration_bins) for prob in flat.held.prob]  # a crop per tile
    for name in found[0]:
        values = [float(one[name] or 0.0) for one in found]
        assert row["tile"][name]["mean"] == pytest.approx(np.mean(values), abs=6e-5), name
        assert row["tile"][name]["sd"] == pytest.approx(np.std(values), abs=6e-5), name
    of_a = labels[:9]
    mean = np.mean([tile_figures(of_a, prob[:9])["macro_f1"] for prob in flat.held.prob])
    assert row["by_case"]["A"]["macro_f1"]["mean"] == pytest.approx(mean, abs=6e-5)
    assert (row["seeds"], row["crops"], row["missing_classes"]) == (2, 21, [])


def test_the_difference_is_from_the_main_variant(
    comparison: Comparison, main: Judged, flat: Judged, rules: EvaluationSettings
) -> None:
    labels = np.array([tile.label for tile in main.samples.tiles])
    expected = paired_difference(labels, flat.held.prob, main.held.prob, rules)
    difference = comparison.row(flat, main)["difference"]
    assert difference["mean"] == pytest.approx(expected.mean, abs=6e-5)
    assert difference["by_tile"] == pytest.approx(expected.by_tile, abs=6e-5)
    assert difference["confidence"] == 0.95
    assert comparison.row(main, main)["difference"]["mean"] == 0


def test_seeds_are_compared_with_the_same_seeds(comparison: Comparison, main: Judged) -> None:
    """A variant with the main variant's own second seed alone does not differ from it."""
    second = Judged(
        main.variant, main.samples, type(main.held)(main.held.prob[1:], main.held.gate[1:], {}), SEEDS[1:]
    )
    assert not np.array_equal(main.by_tile[0], main.by_tile[1])
    row = comparison.row(second, main)
    assert row["difference"] == {
        "mean": 0.0, "by_seed": None, "by_tile": [0.0, 0.0], "confidence": 0.95
    }  # fmt: skip
    assert row["seeds"] == 1


def test_each_variant_is_one_classifier(comparison: Comparison, settings: TrainSettings) -> None:
    assert settings.network.members == 2
    assert comparison.settings_of(variant(fit__epochs=3)) == settings.model_copy(
        update={
            "network": settings.network.model_copy(update={"members": 1}),
            "fit": settings.fit.model_copy(update={"epochs": 3}),
        }
    )


def test_a_variant_with_an_unknown_setting_is_refused(comparison: Comparison) -> None:
    with pytest.raises(SettingsError, match=r"fit\.epoch is not a setting"):
        comparison.judge(variant(fit__epoch=3), SEEDS)


def test_only_a_backbone_that_learns_is_handed_to_the_fits(
    comparison: Comparison, main: Judged, settings: TrainSettings
) -> None:
    def setup(**changes: Any) -> FitSetup:
        return comparison.setup(main.samples, comparison.settings_of(variant(**changes)))

    assert setup().backbone is None
    assert setup(fit__tune="full").backbone is not None
    assert setup(fit__tune="full", crops__workers=2).threads == 1


def test_a_model_whose_backbone_learned_is_fitted_in_as_many_threads(
    tiles: tuple[LabelledTile, ...], main: Judged, settings: TrainSettings, rules: EvaluationSettings
) -> None:
    """They decide the last bits, and with them whether its figures are found again."""
    learned = settings.model_copy(
        update={
            "fit": settings.fit.model_copy(update={"tune": "full"}),
            "crops": settings.crops.model_copy(update={"workers": 2}),
        }
    )
    comparison = Comparison(SampleCache(tiles), learned, rules)
    assert comparison.setup(main.samples, comparison.settings_of(variant())).threads == 2


def test_tiles_of_mixed_label_have_no_figures_but_a_percentage(comparison: Comparison, main: Judged) -> None:
    """All tumour of case B is mixed: it is labelled 50 % viable, and its other three tiles alone have figures."""
    tiles = tuple(
        replace(tile, truth=(0.0, 0.5, 0.5)) if tile.case == "B" and tile.is_tumour else tile
        for tile in main.samples.tiles
    )
    some = Judged(main.variant, replace(main.samples, tiles=tiles), main.held, SEEDS)
    kept = [at for at, tile in enumerate(tiles) if tile.label is not None]
    assert len(kept) == 15
    np.testing.assert_array_equal(some.by_tile, main.by_tile[:, kept])
    row = comparison.row(some, some)
    of_b = [at for at in kept if tiles[at].case == "B"]
    expected = [
        tile_figures(np.zeros(len(of_b), np.int64), prob[of_b])["macro_f1"] for prob in main.held.prob
    ]
    assert row["by_case"]["B"]["macro_f1"]["mean"] == pytest.approx(np.mean(expected), abs=6e-5)
    assert row["cases"]["B"] == comparison.row(main, main)["cases"]["B"]


def test_variants_are_named_in_the_log(comparison: Comparison, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "wsi_necrosis"):
        comparison.judge(variant("loud", fit__epochs=1), SEEDS)
    assert "variant loud" in caplog.messages


def test_a_row_says_what_the_variant_is_made_of_and_how_far_its_percentage_is_off(
    comparison: Comparison, main: Judged, flat: Judged, rules: EvaluationSettings
) -> None:
    row = comparison.row(flat, main)
    assert (row["backbone"], row["fusion"], row["heads"]) == ("test_byobnet", "image", "flat")
    expected = measure_quantity(flat.samples, flat.held.prob, rules.seed)
    assert row["simulation"] == expected.figures
    assert expected.quantity is not None
    assert row["quantity"] == asdict(expected.quantity)
