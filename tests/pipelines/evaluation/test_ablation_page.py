from __future__ import annotations

import re
from typing import Any

import pytest

from wsi_necrosis.pipelines.evaluation.ablation_page import better_arms, render, summary, verdicts

TILES = "other tiles of these cases"
WIDE, ABOVE, BELOW = [-0.2, 0.3], [0.01, 0.3], [-0.3, -0.01]


def with_difference(facts: dict[str, Any], mean: float, by_seed: Any, by_tile: Any) -> dict[str, Any]:
    """Facts whose only other variant is the image's, with this difference from the main one."""
    facts["variants"] = {name: facts["variants"][name] for name in ("itself", "image-flat")}
    difference = facts["variants"]["image-flat"]["difference"]
    difference |= {"mean": mean, "by_seed": by_seed, "by_tile": by_tile}
    return facts


@pytest.mark.parametrize(
    ("mean", "by_seed", "by_tile", "said"),
    [
        (0.0, WIDE, WIDE, "makes no difference that these tiles could show (+0.000)"),
        (0.05, ABOVE, ABOVE, "makes no difference that these tiles could show (+0.050)"),
        (-0.05, WIDE, WIDE, "makes no difference that these tiles could show (-0.050)"),
        (0.051, ABOVE, ABOVE, "is better by 0.051 on these tiles"),
        (-0.1, BELOW, BELOW, "is worse by 0.100 on these tiles"),
        (-0.1, None, BELOW, "is worse by 0.100 on these tiles"),
        (0.1, ABOVE, WIDE, f"is better by 0.100, within what {TILES} could turn round"),
        (0.1, WIDE, ABOVE, "is better by 0.100, within what other seeds could turn round"),
        (-0.1, WIDE, [-0.2, 0.0], f"is worse by 0.100, within what other seeds or {TILES} could turn round"),
    ],
)  # fmt: skip
def test_a_verdict_claims_no_more_than_the_figures(
    mean: float, by_seed: Any, by_tile: Any, said: str, facts: dict[str, Any]
) -> None:
    assert verdicts(with_difference(facts, mean, by_seed, by_tile)) == [f"image: {said}."]


@pytest.mark.parametrize(("mean", "better"), [(0.051, ["image-flat"]), (0.05, []), (-0.3, []), (0.0, [])])
def test_variants_are_better_above_the_margin(mean: float, better: list[str], facts: dict[str, Any]) -> None:
    assert better_arms(with_difference(facts, mean, WIDE, WIDE)) == better


def test_every_variant_has_a_row_in_every_table(facts: dict[str, Any]) -> None:
    page, variants = render(facts), list(facts["variants"])
    for at, name in enumerate(variants):
        assert len(re.findall(rf"^\| `{name}`", page, re.MULTILINE)) == (4 if at == 0 else 5), name
        assert at == 0 or f"- {facts['variants'][name]['title']}: " in page
    for group in ("Frozen", "Tuned"):
        assert page.count(f"**{group}**") == 1


def test_no_placeholder_is_left_and_every_row_is_as_wide_as_its_table(facts: dict[str, Any]) -> None:
    page = render(facts)
    assert not set("{}") & set(page)
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_figures_of_the_facts_stand_on_the_page(facts: dict[str, Any]) -> None:
    row = facts["variants"]["image-flat"]
    row["tile"]["macro_f1"] = {"mean": 0.1234, "sd": 0.0567}
    row["difference"] |= {"mean": -0.4321, "by_seed": None, "by_tile": [-0.51, -0.3]}
    row["by_case"]["B"]["macro_f1"] = None
    facts["importance"]["image"] = -0.777
    facts["gate"]["viable"] = {"lower": 0.21, "median": 0.32, "upper": 0.43}
    page = render(facts)
    for part in (
        "0.123 +- 0.057",
        "| `image-flat` | -0.432 | - | -0.510 to -0.300 |",
        "| image | -0.777 |",
        "| Viable tumour | 0.21 | 0.32 | 0.43 |",
        "21 tiles of 3 cases",
        "2 training seeds",
        "A 50 %, B 50 %, C no tumour",
    ):
        assert part in page, part


def test_groups_are_listed_from_the_most_important(facts: dict[str, Any]) -> None:
    facts["importance"] = {"image": 0.1, "radiomics": 0.3, "nuclei": -0.2}
    page = render(facts)
    assert page.index("| radiomics |") < page.index("| image |") < page.index("| nuclei |")


def test_missing_classes_are_named(facts: dict[str, Any]) -> None:
    assert "No tile is" not in render(facts)
    facts["variants"]["itself"]["missing_classes"] = ["non_viable", "viable"]
    facts["variants"]["itself"]["tile"]["sensitivity_at_90_viable"] = None
    page = render(facts)
    assert "No tile is non_viable or viable; figures of what is missing are left out of means" in page


def test_only_of_published_tiles_is_the_published_test_named(facts: dict[str, Any]) -> None:
    assert "Case-4" not in render(facts)
    for tree in (facts["metrics"], *facts["variants"].values()):
        tree["cases"]["Case-4"] = tree["cases"].pop("A")
        if "by_case" in tree:
            tree["by_case"]["Case-4"] = tree["by_case"].pop("A")
    assert "published test is that of Case-4" in render(facts)


def test_branches_without_weights_have_no_table_and_no_plot(facts: dict[str, Any]) -> None:
    assert "![gate](gate.png)" in render(facts)
    page = render(facts | {"gate": {}})
    assert "Its branches are joined without weights." in page
    assert "gate.png" not in page
    assert "Weight of the radiomics branch" not in page


def test_the_summary_says_whether_the_figures_were_reproduced(facts: dict[str, Any]) -> None:
    lines = summary(facts).splitlines()
    f1 = facts["variants"]["itself"]["tile"]["macro_f1"]
    error = facts["variants"]["itself"]["quantity"]
    rmse = error[error["estimator"]]["rmse"]
    start = f"itself                 RMSE {rmse:.1f} points, "
    assert lines[0] == f"{start}macro-F1 {f1['mean']:.3f} +- {f1['sd']:.3f}"
    assert f"the rule chooses for default: {facts['chosen']['default']}" in lines
    assert "figures of the model are those of the checkpoint" in lines
    assert lines[-3:] == verdicts(facts)
    assert "figures of the model DIFFER from those of the checkpoint" in summary(
        facts | {"reproduced": False}
    )


def test_simulated_slides_and_the_choice_stand_on_the_page(facts: dict[str, Any]) -> None:
    facts["variants"]["flat"]["quantity"] |= {"estimator": "soft"}
    facts["variants"]["flat"]["simulation"]["rmse"] = {"soft": 98.76, "hard": 87.65}
    facts["chosen"] = {"default": "flat", "fast": None}
    page = render(facts)
    assert "| `flat` | **98.8** / 87.7 |" in page
    assert "- default: `flat`\n- fast: none\n" in page
    assert "![found against true](found.png)" in page


def test_without_both_kinds_of_tumour_there_is_no_error_and_no_plot(facts: dict[str, Any]) -> None:
    facts["quantity"], facts["metrics"]["simulation"] = None, {}
    for row in facts["variants"].values():
        row["quantity"], row["simulation"] = None, {}
    page = render(facts)
    assert "do not hold both kinds of tumour" in page
    assert "found.png" not in page
    assert "RMSE not known, macro-F1" in summary(facts)
