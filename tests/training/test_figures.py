from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.samples import N, V, X, samples
from wsi_necrosis.metrics.figures import tile_figures
from wsi_necrosis.training.figures import (
    by_case_tables,
    case_table,
    crop_table,
    tile_table,
)

MIXED = None
SURE = np.eye(3)


def sure_of(*runs: Sequence[int]) -> NDArray[np.float64]:
    """Probabilities (runs, m, 3) that are sure of these classes."""
    return np.stack([SURE[list(run)] for run in runs])


FOUR = samples(("A", N), ("A", X), ("B", V), ("B", V))


def test_mean_and_spread_over_the_runs() -> None:
    """Three of four right, then one of four: accuracies .75 and .25."""
    table = tile_table(FOUR, sure_of((N, X, V, N), (N, V, X, N)), 5)
    assert table["accuracy"] == {"mean": 0.5, "sd": 0.25}
    assert table["recall_viable"] == {"mean": 0.25, "sd": 0.25}
    assert table["brier"] == {"mean": 1.0, "sd": 0.5}


def test_one_run_has_no_spread() -> None:
    assert tile_table(FOUR, sure_of((N, X, V, N)), 5)["accuracy"] == {"mean": 0.75, "sd": 0.0}


def test_figures_of_a_missing_class_are_none() -> None:
    some = samples(("A", N), ("B", N), ("B", V))
    table = tile_table(some, sure_of((N, V, V)), 5)
    for name in ("recall_non_viable", "auc_non_viable", "sensitivity_at_90_non_viable"):
        assert table[name] is None, name
    assert table["recall_non_tumour"] == {"mean": 0.5, "sd": 0.0}
    assert table["macro_f1"] is not None


def test_a_tile_is_the_mean_of_its_crops_and_a_crop_is_itself() -> None:
    """Two of three crops of the second tile are weakly viable; the third one outweighs them."""
    some = samples(("A", N), ("B", X), crops=3)
    prob = SURE[[N, N, N, V, V, X]]
    prob[3:5] = (0.0, 0.4, 0.6)
    tile, crop = (table(some, prob[None], 5) for table in (tile_table, crop_table))
    assert tile["accuracy"] == {"mean": 1.0, "sd": 0.0}
    assert crop["accuracy"] == {"mean": round(4 / 6, 4), "sd": 0.0}
    assert crop["recall_non_viable"] == {"mean": round(1 / 3, 4), "sd": 0.0}


def test_mixed_tiles_have_no_figures_by_class() -> None:
    some, prob = samples(("A", N), ("A", MIXED), ("B", V)), sure_of((N, N, V))
    assert tile_table(some, prob, 5)["accuracy"] == {"mean": 1.0, "sd": 0.0}
    assert crop_table(some, prob, 5)["accuracy"] == {"mean": 1.0, "sd": 0.0}


def test_tables_are_those_of_the_tiles_figures() -> None:
    prob = np.random.default_rng(2).dirichlet((1, 1, 1), (3, 4))
    table = tile_table(FOUR, prob, 2)
    found = [tile_figures(np.array([N, X, V, V]), one, 2) for one in prob]
    assert list(table) == list(found[0])
    for name, value in table.items():
        of_runs = [float(one[name] or 0.0) for one in found]
        assert value == pytest.approx({"mean": np.mean(of_runs), "sd": np.std(of_runs)}, abs=6e-5), name


def test_each_case_has_figures_of_its_own() -> None:
    tables = by_case_tables(FOUR, sure_of((N, X, V, N)), 5)
    assert {case: table["accuracy"] for case, table in tables.items()} == {
        "A": {"mean": 1.0, "sd": 0.0},
        "B": {"mean": 0.5, "sd": 0.0},
    }
    assert tables["A"]["recall_viable"] is None


def test_a_case_of_mixed_tiles_alone_has_no_figures() -> None:
    tables = by_case_tables(samples(("A", N), ("B", MIXED)), sure_of((N, V)), 5)
    assert tables["A"]["accuracy"] == {"mean": 1.0, "sd": 0.0}
    assert set(tables["B"].values()) == {None}
    assert list(tables["B"]) == list(tables["A"])


def test_percent_viable_of_a_case_as_labelled_and_found() -> None:
    """Labels of B say 50 %; the runs' soft sums 60 and 80 %, both count viable in one tile of two, then in both."""
    some = samples(("A", N), ("B", X), ("B", V))
    prob = np.array([[SURE[N], (0, 0.7, 0.3), (0, 0.1, 0.9)], [SURE[N], (0, 0.3, 0.7), (0, 0.1, 0.9)]])
    table = case_table(some, prob)
    assert table["B"]["truth"] == 50.0
    assert table["B"]["soft"] == {"mean": 70.0, "sd": 10.0}
    assert table["B"]["soft_error"] == {"mean": 20.0, "sd": 10.0}
    assert table["B"]["hard"] == {"mean": 75.0, "sd": 25.0}
    assert table["B"]["hard_error"] == {"mean": 25.0, "sd": 25.0}
    assert table["A"]["truth"] is None
    assert table["A"]["soft"] is None
    assert table["A"]["tiles"] == {"non_tumour": 1, "non_viable": 0, "viable": 0, "mixed": 0}


def test_mixed_tiles_count_half_in_percent_viable() -> None:
    table = case_table(samples(("A", MIXED), ("A", V), ("B", N)), sure_of((X, V, N)))
    assert table["A"]["tiles"] == {"non_tumour": 0, "non_viable": 0, "viable": 1, "mixed": 1}
    assert table["A"]["truth"] == 75.0
    assert table["A"]["soft_error"] == {"mean": -25.0, "sd": 0.0}


def test_what_one_run_leaves_undefined_has_no_mean() -> None:
    """The second run finds no tumour by hard sums: a mean over the first alone would hide it."""
    some = samples(("A", X), ("A", V), ("B", N))
    table = case_table(some, sure_of((X, V, N), (N, N, N)))
    assert table["A"]["hard"] is None
    assert table["A"]["hard_error"] is None
    assert table["A"]["truth"] == 50.0
