from __future__ import annotations

import csv
import json
import logging
import shutil
import sys
from dataclasses import replace
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.painted_tiles import paint
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import DatasetError, ModelError, SettingsError, UsageError, WsiNecrosisError
from wsi_necrosis.model.spec import ModelSpec, load_spec
from wsi_necrosis.pipelines.cli import main
from wsi_necrosis.pipelines.evaluation import ablation_page, evaluation_plots, model_card
from wsi_necrosis.pipelines.evaluation import evaluate as module
from wsi_necrosis.pipelines.evaluation.evaluate import Options, evaluate
from wsi_necrosis.radiomics.recipe import find_recipe
from wsi_necrosis.settings.evaluation import EvaluationSettings, load_evaluation_settings
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.training.build import train

PLOTS = ("confusion.png", "roc.png", "reliability.png", "learning.png", "gate.png")
OOD = "file,group,expected,mpp\nodd.png,noise,ood,1.0\n"


@pytest.fixture
def few(rules: EvaluationSettings) -> EvaluationSettings:
    """The main variant and the probe; tuned variants as before."""
    kept = tuple(variant for variant in rules.frozen if variant.name in {"default", "probe"})
    return rules.model_copy(update={"frozen": kept})


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations draw no plots."""
    monkeypatch.setattr(evaluation_plots, "draw", lambda *_: None)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of two cases that the model has not seen."""
    return paint(tmp_path_factory.mktemp("fresh"), {"D": CLASSES, "E": ("viable",)}, 8, each=5)


def copied(source: Path, target: Path, **changes: Any) -> Path:
    """A checkpoint or an evaluation with facts of its JSON file changed."""
    shutil.copytree(source, target)
    path = next(target.glob("*.json"))
    tree = json.loads(path.read_text(encoding="utf-8"))
    for dotted, value in changes.items():
        *above, last = dotted.split("__")
        branch = tree
        for key in above:
            branch = branch[key]
        branch[last] = value
    path.write_text(json.dumps(tree), encoding="utf-8")
    return target


def read(out: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return tree


def test_training_tiles_are_compared_on(evaluation: Path, facts: dict[str, Any], spec: ModelSpec) -> None:
    for name in ("evaluation.json", "ablation.md", "MODEL_CARD.md", *PLOTS):
        assert (evaluation / name).is_file(), name
    for name in PLOTS:
        with Image.open(evaluation / name) as picture:
            assert picture.width == 1800, name
    assert facts["model"] == {
        "name": "tiny", "sha256": spec.weights_sha256, "fingerprint": spec.fingerprint,
    }  # fmt: skip
    assert list(facts["frozen"]) == ["default", "image-flat", "paper-loss", "probe"]
    assert list(facts["tuned"]) == ["tuned-full"]
    assert (facts["main"], facts["seeds"], facts["ood"]) == ("default", [1, 2], None)
    assert {row["seeds"] for row in (*facts["frozen"].values(), *facts["tuned"].values())} == {2}


def test_the_figures_of_the_unchanged_model_are_found_again(
    evaluation: Path, facts: dict[str, Any], spec: ModelSpec
) -> None:
    assert facts["reproduced"] is True
    assert facts["metrics"] == spec.metrics
    assert "figures of the model are those of the checkpoint" in (evaluation / "said.txt").read_text(
        encoding="utf-8"
    )


def test_page_and_card_are_written_from_the_facts(
    evaluation: Path, facts: dict[str, Any], spec: ModelSpec
) -> None:
    said = {
        name: (evaluation / name).read_text(encoding="utf-8") for name in ("ablation.md", "MODEL_CARD.md")
    }
    assert said["ablation.md"] == ablation_page.render(facts)
    assert said["MODEL_CARD.md"] == model_card.render(spec, facts, "ablation.md")


def test_importance_and_gate_are_given_by_group_and_class(facts: dict[str, Any]) -> None:
    assert set(facts["importance"]) >= {"image", "radiomics"}
    assert max(facts["importance"].values()) > 0.1
    assert list(facts["gate"]) == list(CLASSES)
    for found in facts["gate"].values():
        assert 0 <= found["lower"] <= found["median"] <= found["upper"] <= 1


@pytest.mark.usefixtures("inline", "without_plots")
def test_other_figures_in_the_checkpoint_are_reported_and_tuned_variants_kept(
    trained: Path,
    painted: Path,
    evaluation: Path,
    facts: dict[str, Any],
    few: EvaluationSettings,
    tmp_path: Path,
) -> None:
    model = copied(trained, tmp_path / "model", metrics__tile__macro_f1__mean=0.123)
    shutil.copytree(evaluation, tmp_path / "out")
    card = tmp_path / "cards" / "CARD.md"
    said = evaluate(Options(str(model), painted, tmp_path / "out", card), few)
    found = read(tmp_path / "out")
    assert found["reproduced"] is False
    assert "figures of the model DIFFER from those of the checkpoint" in said
    assert found["tuned"] == facts["tuned"]
    assert found["frozen"] == {name: facts["frozen"][name] for name in ("default", "probe")}
    assert "[../out/ablation.md](../out/ablation.md)" in card.read_text(encoding="utf-8")
    assert "**They differ from those that the training found" in " ".join(
        card.read_text(encoding="utf-8").split()
    )


@pytest.mark.usefixtures("inline", "without_plots")
def test_tuned_variants_of_another_model_are_dropped_with_a_warning(
    trained: Path,
    painted: Path,
    evaluation: Path,
    few: EvaluationSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = copied(trained, tmp_path / "model", calibration__value=3.0)
    shutil.copytree(evaluation, tmp_path / "out")
    evaluate(Options(str(model), painted, tmp_path / "out"), few)
    found = read(tmp_path / "out")
    assert (found["tuned"], found["tuned_key"], found["reproduced"]) == ({}, None, False)
    assert "the tuned variants in" in caplog.text
    assert "tuned-full" not in (tmp_path / "out" / "ablation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"confidence": 0.9},
        {"calibration_bins": 3},
        {"bootstrap_draws": 7},
        {"tuned_seeds": (1,)},
        {"tuned": ()},
    ],
    ids=str,
)
def test_tuned_variants_under_other_rules_are_not_kept(
    changes: dict[str, Any], spec: ModelSpec, rules: EvaluationSettings, evaluation: Path
) -> None:
    assert module._kept(evaluation, module._key(spec, rules))
    assert not module._kept(evaluation, module._key(spec, rules.model_copy(update=changes)))


@pytest.mark.parametrize("text", [None, "no JSON", "[1]", '{"tuned_key": "other", "tuned": {}}'])
def test_a_folder_without_an_evaluation_keeps_nothing(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "evaluation.json").write_text(text, encoding="utf-8")
    assert module._kept(tmp_path, "key") == {}


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    "overrides",
    [
        ["network.fusion=concat"],
        ["network.fusion=radiomics"],
        ["network.fusion=image", "fit.loss=flat"],
        ["fit.tune=full"],
    ],
    ids=" ".join,
)
def test_every_kind_of_model_is_found_again(
    overrides: list[str], config: Path, painted: Path, few: EvaluationSettings, tmp_path: Path
) -> None:
    """Without a gate there is neither a table nor a picture of one, not even that of an earlier model."""
    brief = ["fit.epochs=1", "fit.test_seeds=[1]", "network.members=1", f"data.tiles={painted}"]
    train(config, tmp_path / "model", [*brief, *overrides])
    (tmp_path / "gate.png").touch()
    evaluate(Options(str(tmp_path / "model"), painted, tmp_path), few)
    found, page = read(tmp_path), (tmp_path / "ablation.md").read_text(encoding="utf-8")
    assert found["reproduced"] is True
    assert found["frozen"]["probe"]["tile"]["accuracy"]["mean"] > 0.8
    weighed = "network.fusion=concat" not in overrides
    assert (tmp_path / "gate.png").exists() == bool(found["gate"]) == ("gate.png" in page) == weighed
    assert ("joined without weights" in page) != weighed


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


def test_the_pixel_size_of_new_tiles_is_not_assumed(trained: Path, fresh: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="missing pixel size"):
        evaluate(Options(str(trained), fresh, tmp_path / "out"))


def test_the_pixel_size_of_training_tiles_is_known(trained: Path, painted: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="that of the training"):
        evaluate(Options(str(trained), painted, tmp_path / "out", mpp_um=0.5))


def test_a_recipe_that_changed_since_is_refused(
    trained: Path, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "wsi_necrosis.pipelines.evaluation.evaluate.recipe_of", lambda network: find_recipe("paper")
    )
    with pytest.raises(ModelError, match="another recipe 'phantom'"):
        evaluate(Options(str(trained), painted, tmp_path / "out"))


def test_the_model_as_it_is_is_calibrated(trained: Path, fresh: Path, tmp_path: Path) -> None:
    hot = copied(trained, tmp_path / "hot", calibration__value=9.0)
    losses = []
    for at, model in enumerate((trained, hot)):
        evaluate(Options(str(model), fresh, tmp_path / str(at), mpp_um=0.5))
        losses.append(read(tmp_path / str(at))["tile"]["log_loss"]["mean"])
    assert losses[1] > 5 * losses[0]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tuned": True}, "--tuned"),
        ({"card": Path("CARD.md"), "ood": Path("ood_inputs.csv")}, "--card, --ood"),
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


def test_tiles_of_which_some_were_in_the_training_are_refused(
    trained: Path, painted: Path, tmp_path: Path
) -> None:
    shutil.copytree(painted, tmp_path / "some")
    table = tmp_path / "some" / "labels.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([*lines[:10], "new.png,D,viable"]), encoding="utf-8")
    Image.new("RGB", (64, 64), "purple").save(tmp_path / "some" / "new.png")
    with pytest.raises(
        DatasetError, match=r"9 of 10 tiles were in the training of 'tiny', and the cases A;.*21 training"
    ):
        evaluate(Options(str(trained), tmp_path / "some", tmp_path / "out"))


def test_other_tiles_of_a_trained_case_are_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    tiles = paint(tmp_path / "tiles", {"B": ("viable",), "C": ("viable",), "F": ("viable",)}, 77, each=2)
    with pytest.raises(
        DatasetError, match="0 of 6 tiles were in the training of 'tiny', and the cases B, C;"
    ):
        evaluate(Options(str(trained), tiles, tmp_path / "out"))


def test_training_tiles_under_other_cases_are_refused(trained: Path, painted: Path, tmp_path: Path) -> None:
    """Or tiles of one patient would stand on both sides of a split."""
    tiles = Path(shutil.copytree(painted, tmp_path / "tiles"))
    table = tiles / "labels.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",C,", ",A,"), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"under other cases \(A, B, not A, B, C\)"):
        evaluate(Options(str(trained), tiles, tmp_path / "out"))


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
    rules = load_evaluation_settings().model_copy(update={"frozen": ()})
    with pytest.raises(WsiNecrosisError, match=message):
        evaluate(replace(options, **{option: tmp_path / place}), rules)


def test_tuned_variants_need_a_seed_of_the_main_variant(
    trained: Path, painted: Path, rules: EvaluationSettings, tmp_path: Path
) -> None:
    other = rules.model_copy(update={"tuned_seeds": (8, 9)})
    with pytest.raises(
        SettingsError, match=r"none of tuned_seeds \[8, 9\] is among.*fit.test_seeds \[1, 2\]"
    ):
        evaluate(Options(str(trained), painted, tmp_path / "out", tuned=True), other)
    assert module._tuned_seeds(rules.model_copy(update={"tuned_seeds": (9, 2, 1)}), (1, 2)) == [2, 1]


@pytest.mark.usefixtures("inline", "without_plots")
def test_ood_inputs_are_evaluated_and_listed_in_the_card(
    trained: Path, painted: Path, few: EvaluationSettings, tmp_path: Path
) -> None:
    colours = phantom_tiles("viable", 4, 32, np.random.default_rng(1)).reshape(128, 32, 3)
    Image.fromarray(colours[..., [1, 2, 0]]).save(tmp_path / "odd.png")
    (tmp_path / "ood_inputs.csv").write_text(OOD, encoding="utf-8")
    evaluate(Options(str(trained), painted, tmp_path / "out", ood=tmp_path / "ood_inputs.csv"), few)
    found = read(tmp_path / "out")["ood"]
    assert [row["file"] for row in found["rows"]] == ["odd.png"]
    assert found["auroc"]["noise"] > 0.9
    assert "| odd.png | noise |" in (tmp_path / "out" / "MODEL_CARD.md").read_text(encoding="utf-8")


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


OF_DIFFERENT_CODE = {
    "default", "image-flat", "radiomics-hierarchy", "concat", "paper", "fixed-loss", "probe", "no-jitter",
    "macenko", "reinhard", "fine-pixels", "wide-field",
}  # fmt: skip


def some_tiles(source: Path, target: Path, each: int) -> Path:
    """So many tiles of each class of each case, with their table."""
    target.mkdir()
    with (source / "labels.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    groups = groupby(sorted(rows, key=itemgetter("case", "label")), key=itemgetter("case", "label"))
    kept = [row for _, group in groups for row in islice(group, each)]
    for row in kept:
        shutil.copy(source / row["file"], target)
    with (target / "labels.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    return target


@pytest.mark.slow
def test_one_seed_of_the_frozen_comparison_on_real_tiles(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Shipped variants that each run different code, on few tiles, views, crops and epochs."""
    shipped = load_evaluation_settings(None, ["bootstrap_draws=200"])
    frozen = tuple(
        variant.model_copy(update={"set": {**variant.set, "fit.epochs": 30}})
        if "fit.epochs" in variant.set
        else variant
        for variant in shipped.frozen
        if variant.name in OF_DIFFERENT_CODE
    )
    assert {variant.name for variant in frozen} == OF_DIFFERENT_CODE
    tiles = some_tiles(data_dir / "tcia_os", tmp_path / "tiles", each=2)
    overrides = [
        f"data.tiles={tiles}", "fit.test_seeds=[1]", "network.members=1", "crops.views=2", "crops.per_side=1",
        "fit.epochs=20", "fit.device=cpu",
    ]  # fmt: skip
    train(None, tmp_path / "model", overrides)
    with caplog.at_level(logging.INFO, "wsi_necrosis"):
        said = evaluate(
            Options(str(tmp_path / "model"), tiles, tmp_path), shipped.model_copy(update={"frozen": frozen})
        )
    facts = read(tmp_path)
    names = [variant.name for variant in frozen]
    assert [message for message in caplog.messages if message.startswith("variant ")] == [
        f"variant {name}" for name in names
    ]
    assert list(facts["frozen"]) == names
    for name, row in facts["frozen"].items():
        assert None not in row["tile"].values(), name
        assert 0.15 < row["tile"]["macro_f1"]["mean"] < 0.9, name
        assert name in said
    assert facts["reproduced"] is True
    page = (tmp_path / "ablation.md").read_text(encoding="utf-8")
    assert page == ablation_page.render(facts)
    assert "16 tiles of 4 cases" in page
    assert "The\npublished test is that of Case-4" in page
    assert load_spec(tmp_path / "model").trained_on.n_tiles == 16


def test_the_shipped_page_is_that_of_the_shipped_facts() -> None:
    folder = Path(__file__).resolve().parents[3] / "docs" / "evaluation"
    assert (folder / "ablation.md").read_text(encoding="utf-8") == ablation_page.render(read(folder))


def test_the_shipped_facts_are_those_of_the_shipped_model() -> None:
    facts, spec = read(Path(__file__).resolve().parents[3] / "docs" / "evaluation"), load_spec("default")
    assert facts["model"]["fingerprint"] == spec.fingerprint
    assert facts["reproduced"] is True
    assert list(facts["frozen"]) == [variant.name for variant in load_evaluation_settings().frozen]
    assert list(facts["tuned"]) == [variant.name for variant in load_evaluation_settings().tuned]
    assert facts["ood"] is not None
