from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers.evaluations import copied, read
from wsi_necrosis.pipelines.evaluation.evaluate import Options, evaluate
from wsi_necrosis.pipelines.evaluation.new_cases import describe


def test_new_cases_evaluate_the_model_as_it_is(trained: Path, fresh: Path, tmp_path: Path) -> None:
    said = evaluate(Options(str(trained), fresh, tmp_path / "out", mpp_um=0.5))
    found = read(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluation.json"]
    assert found["tiles"] == 20
    assert list(found["cases"]) == ["D", "E"]
    assert found["tile"]["accuracy"]["mean"] >= 0.85
    assert found["cases"]["E"]["truth"] == 100.0
    assert 0 <= found["abstained_share"] <= 1
    assert "tiny on 20 tiles of 2 cases that it has not seen" in said
    assert "percent viable, E: labelled 100 %" in said


def test_the_model_as_it_is_is_calibrated(trained: Path, fresh: Path, tmp_path: Path) -> None:
    hot = copied(trained, tmp_path / "hot", calibration__value=9.0)
    losses = []
    for at, model in enumerate((trained, hot)):
        evaluate(Options(str(model), fresh, tmp_path / str(at), mpp_um=0.5))
        losses.append(read(tmp_path / str(at))["tile"]["log_loss"]["mean"])
    assert losses[1] > 5 * losses[0]


def test_percent_viable_is_not_calibrated(trained: Path, fresh: Path, tmp_path: Path) -> None:
    """A temperature of 9 leaves tiles of .4 at most; percent viable and its error stay as they were."""
    hot = copied(trained, tmp_path / "hot", calibration__value=9.0)
    found = []
    for at, model in enumerate((trained, hot)):
        evaluate(Options(str(model), fresh, tmp_path / str(at), mpp_um=0.5))
        found.append(read(tmp_path / str(at)))
    for key in ("cases", "quantity", "simulation"):
        assert found[0][key] == found[1][key], key


def test_the_error_on_simulated_slides_of_new_cases_is_reported(
    trained: Path, fresh: Path, tmp_path: Path
) -> None:
    said = evaluate(Options(str(trained), fresh, tmp_path / "out", mpp_um=0.5))
    found = read(tmp_path / "out")
    assert list(found["simulation"]["by_group"]) == ["D", "E"]
    assert (found["within_case"], found["quantity"]["soft"]["blank"]) == (None, None)
    assert f"soft {found['simulation']['rmse']['soft']:.1f} points" in said
    assert "within-case" not in said


FACTS: dict[str, Any] = {
    "model": {"name": "tiny"},
    "within_case": None,
    "tiles": 4,
    "tile": {"accuracy": {"mean": 0.75, "sd": 0.0}, "auc_viable": None},
    "cases": {
        "D": {"truth": 50.0, "soft": {"mean": 61.25, "sd": 0.0}, "hard": {"mean": 100.0, "sd": 0.0}},
        "E": {"truth": None, "soft": {"mean": 3.0, "sd": 0.0}, "hard": None},
    },
    "simulation": {"rmse": {"soft": 12.34, "hard": 23.45}},
    "quantity": {
        "estimator": "soft",
        "soft": {"slope": 0.654, "intercept": 20.04, "blank": None},
        "hard": {"slope": 0.9, "intercept": 3.0, "blank": {"mean": 6.1, "limit": 13.04, "cases": 2}},
    },
    "abstained_share": 0.125,
}


def test_new_cases_are_told_figure_by_figure() -> None:
    assert describe(FACTS).splitlines() == [
        "tiny on 4 tiles of 2 cases that it has not seen",
        "  accuracy                     0.750",
        "  auc_viable                   not defined: a class is missing",
        "  percent viable, D: labelled 50 %, soft 61.2 %, hard 100.0 %",
        "  percent viable, E: labelled no tumour, soft 3.0 %, hard -",
        "  error on simulated slides: soft 12.3 points, hard 23.4 (RMSE)",
        "  soft: slope 0.65, intercept 20.0; limit of blank not known",
        "  hard: slope 0.90, intercept 3.0; limit of blank 13.0 % (2 cases)",
        "  crops unlike the training tiles 12.5 %",
    ]


def test_without_both_kinds_of_tumour_no_error_is_told() -> None:
    assert "simulated" not in describe(FACTS | {"simulation": {}})


def test_every_line_within_a_case_says_so() -> None:
    lines = describe(
        FACTS | {"within_case": {"known_cases": ["D"], "note": "WITHIN-CASE: too good"}}
    ).splitlines()
    assert lines[0] == "WITHIN-CASE: too good"
    assert lines[1] == "tiny on 4 tiles of 2 cases (within-case)"
    assert all(line.startswith("  within-case ") for line in lines[2:])
