from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.samples import N, V, X, samples
from wsi_necrosis.metrics.curves import Reliability
from wsi_necrosis.metrics.figures import tile_figures
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.model.ood import NUMBERS, OodDetector
from wsi_necrosis.pipelines.evaluation import evaluation_plots as module
from wsi_necrosis.pipelines.evaluation.comparison import Judged
from wsi_necrosis.pipelines.evaluation.evaluation_plots import draw
from wsi_necrosis.settings.evaluation import Variant
from wsi_necrosis.settings.train import load_train_settings
from wsi_necrosis.training.fit import Epoch
from wsi_necrosis.training.held_out import HeldOutSummary
from wsi_necrosis.training.leave_case_out import HeldOut
from wsi_necrosis.training.quantity import measure_quantity
from wsi_necrosis.training.temperature import calibrate_nested

PLOTS = ("confusion.png", "roc.png", "reliability.png", "learning.png", "gate.png")
MIXED = None
CALIBRATION = load_train_settings().calibration
SOME = samples(("A", N), ("A", X), ("A", V), ("B", N), ("B", X), ("B", V), ("B", MIXED))
DETECTOR = OodDetector(
    (0.0,) * NUMBERS, (1.0,) * NUMBERS, tuple(tuple(row) for row in np.eye(NUMBERS).tolist()), 1.0
)
FOUND = HeldOutSummary(Temperature(), DETECTOR, {"members": 2})


@pytest.fixture
def main() -> Judged:
    rng = np.random.default_rng(3)
    prob = rng.dirichlet((1, 1, 1), (3, len(SOME)))
    gate = rng.dirichlet((1, 1), (3, len(SOME)))
    history = {
        f"{case}-{seed}": (
            Epoch(1, 2.0, 1.0, 1.0, 1.0, 1.0, np.nan),
            Epoch(2, 1.0, 0.5, 0.5, np.e, 0.5, np.nan),
        )
        for case in "AB"
        for seed in (1, 2, 3)
    }
    return Judged(
        Variant(name="main", title="m", group="g", set={}), SOME, HeldOut(prob, gate, history), (1, 2, 3)
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """Plots are not drawn, but what they would show is kept by the name of their file."""
    kept: dict[str, tuple[Any, ...]] = {}
    for name in ("confusion", "roc", "reliability", "learning", "gate", "found"):
        monkeypatch.setattr(module, f"{name}_plot", lambda path, *rest: kept.__setitem__(path.name, rest))
    return kept


def test_five_plots_are_written(main: Judged, tmp_path: Path) -> None:
    draw(tmp_path, main, FOUND, CALIBRATION, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PLOTS)


def test_the_confusion_is_a_mean_over_seeds(
    main: Judged, drawn: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    draw(tmp_path, main, FOUND, CALIBRATION, 5)
    table, _, caption = drawn["confusion.png"]
    labels = np.array([N, X, V, N, X, V])
    expected = np.zeros((3, 3))
    for prob in main.held.prob[:, :6]:
        np.add.at(expected, (labels, prob.argmax(axis=1)), 1 / 3)
    np.testing.assert_allclose(table, expected)
    assert "6 tiles" in caption
    assert "3 training seeds" in caption


def test_curves_are_of_probabilities_averaged_over_the_seeds(
    main: Judged, drawn: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    draw(tmp_path, main, FOUND, CALIBRATION, 5)
    curves, aucs, _ = drawn["roc.png"]
    figures = tile_figures(np.array([N, X, V, N, X, V]), main.held.prob[:, :6].mean(axis=0))
    assert list(curves) == ["non_tumour", "non_viable", "viable"]
    for name, (false_alarms, found) in curves.items():
        assert aucs[name] == figures[f"auc_{name}"] == pytest.approx(np.trapezoid(found, false_alarms))


def test_reliability_pools_the_ensembles_before_and_after(
    main: Judged, drawn: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    draw(tmp_path, main, FOUND, CALIBRATION, 5)
    before, after, caption = drawn["reliability.png"]
    assert isinstance(before, Reliability)
    assert before.count.sum() == after.count.sum() == 3 * 6
    ensembles = main.held.ensembles(2)
    nested = calibrate_nested(ensembles, SOME, CALIBRATION)
    for bins, prob in ((before, ensembles), (after, nested)):
        confidence = prob[:, :6].max(axis=2).mean()
        assert np.average(bins.confidence, weights=bins.count) == pytest.approx(confidence)
    assert "6 tiles, each by 3 ensembles of 2" in caption


def test_weights_of_the_heads_are_drawn_as_s(
    main: Judged, drawn: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    draw(tmp_path, main, FOUND, CALIBRATION, 5)
    history, caption = drawn["learning.png"]
    assert history["A-1"]["epoch"] == [1.0, 2.0]
    assert history["A-1"]["loss"] == [2.0, 1.0]
    assert history["A-1"]["s_coarse"] == pytest.approx([0.0, -1.0])
    assert history["A-1"]["s_fine"] == pytest.approx([0.0, np.log(2)])
    assert caption.startswith("6 fits")


def test_the_gate_is_drawn_of_tiles_with_a_class(
    main: Judged, drawn: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    draw(tmp_path, main, FOUND, CALIBRATION, 5)
    gate, labels, _ = drawn["gate.png"]
    np.testing.assert_allclose(gate, main.held.gate[:, :6].mean(axis=0))
    np.testing.assert_array_equal(labels, [N, X, V, N, X, V])


def test_without_weights_of_the_branches_no_gate_is_drawn_and_an_old_one_goes(
    main: Judged, drawn: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    (tmp_path / "gate.png").touch()
    held = replace(main.held, gate=np.full_like(main.held.gate, np.nan))
    draw(tmp_path, replace(main, held=held), FOUND, CALIBRATION, 5)
    assert "gate.png" not in drawn
    assert not (tmp_path / "gate.png").exists()


def test_a_class_without_tiles_has_no_curve(
    main: Judged, drawn: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    some = samples(("A", N), ("A", V), ("B", N), ("B", V))
    held = HeldOut(main.held.prob[:, :4], main.held.gate[:, :4], main.held.history)
    draw(tmp_path, Judged(main.variant, some, held, main.seeds), FOUND, CALIBRATION, 5)
    curves, aucs, _ = drawn["roc.png"]
    assert list(curves) == ["non_tumour", "viable"]
    assert aucs["non_viable"] is None


def test_found_against_true_is_drawn_where_it_is_known_and_an_old_plot_goes(
    main: Judged, drawn: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    simulated = measure_quantity(SOME, main.held.prob, 1)
    known = replace(
        FOUND, quantity=simulated.quantity, metrics={"members": 2, "simulation": simulated.figures}
    )
    draw(tmp_path, main, known, CALIBRATION, 5)
    assert drawn.pop("found.png") == (simulated.quantity, simulated.figures)
    (tmp_path / "found.png").touch()
    draw(tmp_path, main, FOUND, CALIBRATION, 5)
    assert "found.png" not in drawn
    assert not (tmp_path / "found.png").exists()
