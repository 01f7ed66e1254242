from __future__ import annotations

import re
from typing import Any

import pytest

from wsi_necrosis.pipelines.evaluation.ablation_page import (
    better_arms,
    markdown,
    new_cases,
    pm,
    render,
    summary,
    verdicts,
)

TILES = "other tiles of these cases"
WIDE, ABOVE, BELOW = [-0.2, 0.3], [0.01, 0.3], [-0.3, -0.01]


def with_difference(facts: dict[str, Any], mean: float, by_seed: Any, by_tile: Any) -> dict[str, Any]:
    """Facts whose only other variant is the image's, with this difference from the main one."""
    facts["tuned"] = {}
    facts["frozen"] = {name: facts["frozen"][name] for name in ("default", "image-flat")}
    difference = facts["frozen"]["image-flat"]["difference"]
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
    page, variants = render(facts), [*facts["frozen"], *facts["tuned"]]
    for at, name in enumerate(variants):
        assert len(re.findall(rf"^\| `{name}`", page, re.MULTILINE)) == (2 if at == 0 else 3), name
        assert at == 0 or f"- {(facts['frozen'] | facts['tuned'])[name]['title']}: " in page
    for group in ("Idea by idea", "The published way", "Tuned backbone"):
        assert page.count(f"**{group}**") == 1


def test_no_placeholder_is_left_and_every_row_is_as_wide_as_its_table(facts: dict[str, Any]) -> None:
    page = render(facts)
    assert not set("{}") & set(page)
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_figures_of_the_facts_stand_on_the_page(facts: dict[str, Any]) -> None:
    row = facts["frozen"]["image-flat"]
    row["tile"]["macro_f1"] = {"mean": 0.1234, "sd": 0.0567}
    row["percent_viable_error"] = {"soft": 12.4, "hard": None}
    row["difference"] |= {"mean": -0.4321, "by_seed": None, "by_tile": [-0.51, -0.3]}
    row["by_case"]["B"]["macro_f1"] = None
    facts["importance"]["image"] = -0.777
    facts["gate"]["viable"] = {"lower": 0.21, "median": 0.32, "upper": 0.43}
    page = render(facts)
    for part in (
        "0.123 +- 0.057",
        "| 12 / - |",
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
    facts["frozen"]["default"]["missing_classes"] = ["non_viable", "viable"]
    facts["frozen"]["default"]["tile"]["sensitivity_at_90_viable"] = None
    page = render(facts)
    assert "No tile is non_viable or viable; figures of what is missing are left out of means" in page


def test_fewer_seeds_are_told(facts: dict[str, Any]) -> None:
    assert "seeds)" not in render(facts)
    facts["tuned"]["tuned-full"]["seeds"] = 1
    assert "the whole backbone tuned (1 seeds)" in render(facts)


def test_only_of_published_tiles_is_the_published_test_named(facts: dict[str, Any]) -> None:
    assert "Case-4" not in render(facts)
    for tree in (facts["metrics"], *facts["frozen"].values(), *facts["tuned"].values()):
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
    f1 = facts["frozen"]["default"]["tile"]["macro_f1"]
    assert lines[0] == f"default                macro-F1 {f1['mean']:.3f} +- {f1['sd']:.3f}"
    assert "figures of the model are those of the checkpoint" in lines
    assert lines[-4:] == verdicts(facts)
    assert "figures of the model DIFFER from those of the checkpoint" in summary(
        facts | {"reproduced": False}
    )


def test_new_cases_are_told_figure_by_figure() -> None:
    facts = {
        "model": {"name": "tiny"},
        "tiles": 4,
        "tile": {"accuracy": {"mean": 0.75, "sd": 0.0}, "auc_viable": None},
        "cases": {
            "D": {"truth": 50.0, "soft": {"mean": 61.25, "sd": 0.0}, "hard": {"mean": 100.0, "sd": 0.0}},
            "E": {"truth": None, "soft": {"mean": 3.0, "sd": 0.0}, "hard": None},
        },
        "abstained_share": 0.125,
    }
    assert new_cases(facts).splitlines() == [
        "tiny on 4 tiles of 2 cases that it has not seen",
        "  accuracy                     0.750",
        "  auc_viable                   not defined: a class is missing",
        "  percent viable, D: labelled 50 %, soft 61.2 %, hard 100.0 %",
        "  percent viable, E: labelled no tumour, soft 3.0 %, hard -",
        "  crops unlike the training tiles 12.5 %",
    ]


def test_tables_and_spreads_are_markdown() -> None:
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert pm({"mean": 0.1239, "sd": 0.02}, 2) == "0.12 +- 0.02"
    assert pm(None, 2) == "-"
