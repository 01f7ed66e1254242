from __future__ import annotations

import csv
import json
import logging
import shutil
from dataclasses import asdict
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.evaluations import copied, read
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.spec import ModelSpec, load_spec
from wsi_necrosis.pipelines.evaluation import ablation_page, model_card
from wsi_necrosis.pipelines.evaluation.evaluate import Options, evaluate
from wsi_necrosis.radiomics.recipe import find_recipe
from wsi_necrosis.settings.evaluation import EvaluationSettings, load_evaluation_settings
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.training.build import train

PLOTS = ("confusion.png", "roc.png", "reliability.png", "learning.png", "gate.png", "found.png")
OOD = "file,group,expected,mpp\nodd.png,noise,ood,1.0\n"
GROUPS = ["Case-4", "Case-3", "Case-48-P5", "Case-3 x Case-48-P5"]


def test_training_tiles_are_compared_on(evaluation: Path, facts: dict[str, Any], spec: ModelSpec) -> None:
    for name in ("evaluation.json", "ablation.md", "MODEL_CARD.md", *PLOTS):
        assert (evaluation / name).is_file(), name
    for name in PLOTS:
        with Image.open(evaluation / name) as picture:
            assert picture.width == 1800, name
    assert facts["model"] == {
        "name": "tiny", "sha256": spec.weights_sha256, "fingerprint": spec.fingerprint,
    }  # fmt: skip
    assert list(facts["variants"]) == ["itself", "image-flat", "flat", "tuned-full"]
    assert (facts["main"], facts["seeds"], facts["ood"]) == ("itself", [1, 2], None)
    assert {row["seeds"] for row in facts["variants"].values()} == {2}


def test_every_variant_has_its_error_on_simulated_slides_and_its_cost(facts: dict[str, Any]) -> None:
    for name, row in facts["variants"].items():
        assert row["quantity"]["soft"]["rmse"] == row["simulation"]["rmse"]["soft"], name
        assert set(row["simulation"]["by_group"]) == {"A", "B"}, name
        assert row["cost_s"] > 0, name
    assert facts["quantity"]["estimator"] in {"soft", "hard"}


def test_the_rule_chooses_among_those_with_two_branches(facts: dict[str, Any]) -> None:
    assert facts["chosen"]["default"] in {"itself", "tuned-full"}
    assert facts["chosen"]["default, flat heads"] == facts["chosen"]["fast, flat heads"] == "flat"


def test_the_figures_of_the_unchanged_model_are_found_again(
    evaluation: Path, facts: dict[str, Any], spec: ModelSpec
) -> None:
    assert facts["reproduced"] is True
    assert facts["metrics"] == spec.metrics
    assert spec.quantity is not None
    assert facts["quantity"] == json.loads(json.dumps(asdict(spec.quantity)))
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


@pytest.mark.usefixtures("inline", "without_plots")
def test_a_model_beyond_the_variants_is_compared_and_not_chosen(
    trained: Path, painted: Path, rules: EvaluationSettings, tmp_path: Path
) -> None:
    """The rule chooses among the variants that were fixed beforehand."""
    kept = tuple(variant for variant in rules.variants if variant.name == "image-flat")
    evaluate(Options(str(trained), painted, tmp_path), rules.model_copy(update={"variants": kept}))
    found = read(tmp_path)
    assert (found["main"], list(found["variants"])) == ("model", ["model", "image-flat"])
    assert set(found["chosen"].values()) == {None}


def test_importance_and_gate_are_given_by_group_and_class(facts: dict[str, Any]) -> None:
    assert set(facts["importance"]) >= {"image", "radiomics"}
    assert max(facts["importance"].values()) > 0.1
    assert list(facts["gate"]) == list(CLASSES)
    for found in facts["gate"].values():
        assert 0 <= found["lower"] <= found["median"] <= found["upper"] <= 1


@pytest.mark.usefixtures("inline", "without_plots")
def test_other_figures_in_the_checkpoint_are_reported(
    trained: Path,
    painted: Path,
    facts: dict[str, Any],
    few: EvaluationSettings,
    tmp_path: Path,
) -> None:
    model = copied(trained, tmp_path / "model", metrics__tile__macro_f1__mean=0.123)
    card = tmp_path / "cards" / "CARD.md"
    said = evaluate(Options(str(model), painted, tmp_path / "out", card), few)
    found = read(tmp_path / "out")
    assert found["reproduced"] is False
    assert "figures of the model DIFFER from those of the checkpoint" in said
    assert list(found["variants"]) == ["itself", "flat"]
    for name, row in found["variants"].items():
        row["cost_s"] = facts["variants"][name]["cost_s"]
        assert row == facts["variants"][name]
    assert "[../out/ablation.md](../out/ablation.md)" in card.read_text(encoding="utf-8")
    assert "**They differ from those that the training found" in " ".join(
        card.read_text(encoding="utf-8").split()
    )


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
    assert found["main"] == "itself"
    weighed = not any(each.startswith("network.fusion") for each in overrides)
    assert (tmp_path / "gate.png").exists() == bool(found["gate"]) == ("gate.png" in page) == weighed
    assert ("joined without weights" in page) != weighed


def test_a_recipe_that_changed_since_is_refused(
    trained: Path, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "wsi_necrosis.pipelines.evaluation.compare.recipe_of", lambda network: find_recipe("paper")
    )
    with pytest.raises(ModelError, match="another recipe 'phantom'"):
        evaluate(Options(str(trained), painted, tmp_path / "out"))


@pytest.mark.usefixtures("inline", "without_plots")
def test_ood_inputs_are_evaluated_and_listed_in_the_card(
    trained: Path, painted: Path, few: EvaluationSettings, tmp_path: Path
) -> None:
    colours = phantom_tiles("viable", 4, 32, np.random.default_rng(1)).reshape(128, 32, 3)
    Image.fromarray(colours[..., [1, 2, 0]]).save(tmp_path / "odd.png")
    (tmp_path / "ood_inputs.csv").write_text(OOD, encoding="utf-8")
    evaluate(Options(str(trained), painted, tmp_path / "out", ood=(tmp_path / "ood_inputs.csv",)), few)
    found = read(tmp_path / "out")["ood"]
    assert [row["file"] for row in found["rows"]] == ["odd.png"]
    assert found["auroc"]["noise"] > 0.9
    assert "| odd.png | noise |" in (tmp_path / "out" / "MODEL_CARD.md").read_text(encoding="utf-8")


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
def test_one_seed_of_a_comparison_on_real_tiles(
    data_dir: Path, rules: EvaluationSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In processes of their own, on few tiles, views, crops and epochs."""
    kept = tuple(variant for variant in rules.variants if "tuned" not in variant.name)
    tiles = some_tiles(data_dir / "tcia_os", tmp_path / "tiles", each=2)
    overrides = [
        f"data.tiles={tiles}", "fit.test_seeds=[1]", "network.members=1", "crops.views=2", "crops.per_side=1",
        "fit.epochs=20", "fit.device=cpu",
    ]  # fmt: skip
    train(None, tmp_path / "model", overrides, preset="tcia")
    with caplog.at_level(logging.INFO, "wsi_necrosis"):
        said = evaluate(
            Options(str(tmp_path / "model"), tiles, tmp_path), rules.model_copy(update={"variants": kept})
        )
    facts = read(tmp_path)
    names = [variant.name for variant in kept]
    assert [message for message in caplog.messages if message.startswith("variant ")] == [
        f"variant {name}" for name in names
    ]
    assert list(facts["variants"]) == names
    for name, row in facts["variants"].items():
        assert None not in row["tile"].values(), name
        assert 0.15 < row["tile"]["macro_f1"]["mean"] < 0.9, name
        assert list(row["simulation"]["by_group"]) == GROUPS, name
        assert name in said
    assert facts["reproduced"] is True
    page = (tmp_path / "ablation.md").read_text(encoding="utf-8")
    assert page == ablation_page.render(facts)
    assert "16 tiles of 4 cases" in page
    assert "published test is that of Case-4" in page
    assert load_spec(tmp_path / "model").trained_on.n_tiles == 16


def test_the_shipped_page_is_that_of_the_shipped_facts() -> None:
    folder = Path(__file__).resolve().parents[3] / "docs" / "evaluation"
    assert (folder / "ablation.md").read_text(encoding="utf-8") == ablation_page.render(read(folder))


def test_the_shipped_facts_are_those_of_the_shipped_model() -> None:
    facts, spec = read(Path(__file__).resolve().parents[3] / "docs" / "evaluation"), load_spec("default")
    assert facts["model"]["fingerprint"] == spec.fingerprint
    assert facts["reproduced"] is True
    names = [variant.name for variant in load_evaluation_settings().variants]
    assert [name for name in facts["variants"] if name != "model"] == names
    assert facts["ood"] is not None
