from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.evaluations import copied, read
from tests.helpers.painted_tiles import paint
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import DatasetError, ModelError, UsageError, WsiNecrosisError
from wsi_necrosis.pipelines.cli import main
from wsi_necrosis.pipelines.evaluation.evaluate import Options, evaluate
from wsi_necrosis.settings.evaluation import load_evaluation_settings


def test_the_pixel_size_of_new_tiles_is_not_assumed(trained: Path, fresh: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="missing pixel size"):
        evaluate(Options(str(trained), fresh, tmp_path / "out"))


def test_the_pixel_size_of_training_tiles_is_known(trained: Path, painted: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="that of the training"):
        evaluate(Options(str(trained), painted, tmp_path / "out", mpp_um=0.5))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"card": Path("CARD.md")}, "--card"),
        ({"card": Path("CARD.md"), "ood": (Path("ood_inputs.csv"),)}, "--card, --ood"),
    ],
    ids=str,
)
def test_options_of_a_comparison_are_refused_on_new_cases(
    given: dict[str, Any], named: str, trained: Path, fresh: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"^{named}: none of the tiles was in the training"):
        evaluate(replace(Options(str(trained), fresh, tmp_path / "out", mpp_um=0.5), **given))
    assert not (tmp_path / "out").exists()


def test_new_cases_do_not_write_over_a_comparison(trained: Path, fresh: Path, evaluation: Path) -> None:
    before = (evaluation / "evaluation.json").read_bytes()
    with pytest.raises(UsageError, match=r"holds a comparison.*choose another with -o"):
        evaluate(Options(str(trained), fresh, evaluation, mpp_um=0.5))
    assert (evaluation / "evaluation.json").read_bytes() == before


def test_a_model_that_was_not_trained_has_nothing_to_repeat(painted: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'phantom' was not made by training"):
        evaluate(Options("phantom", painted, tmp_path / "out"))


def test_settings_of_another_version_are_refused_by_name(
    trained: Path, painted: Path, tmp_path: Path
) -> None:
    model = copied(trained, tmp_path / "model", training__fit__warmup=5)
    with pytest.raises(ModelError, match=r"settings of another version: fit\.warmup is not a setting"):
        evaluate(Options(str(model), painted, tmp_path / "out"))


@pytest.mark.parametrize(
    ("option", "place", "message"),
    [
        ("card", "file/CARD.md", "is no writable folder"),
        ("ood", "none.csv", r"none\.csv cannot be read"),
        ("out", "file/out", "is no writable folder"),
    ],
)
def test_what_would_fail_at_the_end_fails_at_the_beginning(
    option: str, place: str, message: str, trained: Path, painted: Path, tmp_path: Path
) -> None:
    """Before the comparison, which would fail here without variants."""
    (tmp_path / "file").touch()
    options = Options(str(trained), painted, tmp_path / "out")
    rules = load_evaluation_settings().model_copy(update={"variants": ()})
    with pytest.raises(WsiNecrosisError, match=message):
        evaluate(
            replace(options, **{option: (tmp_path / place,) if option == "ood" else tmp_path / place}), rules
        )


def test_the_command_asks_for_tiles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["wsi-necrosis", "evaluate", "phantom"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "wsi-necrosis: evaluate: give the labelled tiles with --tiles\n"


def test_the_command_says_what_was_found(
    trained: Path,
    fresh: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["evaluate", str(trained), "--tiles", str(fresh), "-o", str(tmp_path / "out"), "--mpp", "0.5"]
    monkeypatch.setattr(sys, "argv", ["wsi-necrosis", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "that it has not seen" in capsys.readouterr().out


def test_new_tiles_of_known_cases_are_marked_in_every_output(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiles").mkdir()
    tiles = paint(tmp_path / "tiles", {"B": CLASSES, "F": ("viable",)}, 77, each=2)
    arguments = ["evaluate", str(trained), "--tiles", str(tiles), "-o", str(tmp_path / "out"), "--mpp", "0.5"]
    monkeypatch.setattr(sys, "argv", ["wsi-necrosis", *arguments, "--within-case"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert read(tmp_path / "out")["within_case"]["known_cases"] == ["B"]
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("WITHIN-CASE: other tiles of the same patients were in the training")
    assert all("within-case" in line for line in lines)
