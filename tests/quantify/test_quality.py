from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.complete_scores import VIABLE, scores, settings
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.model.quality import Quality
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.quantify.quality import (
    SAID,
    Check,
    check_slide,
    checks_facts,
    density_of,
    quality_warnings,
)
from wsi_necrosis.quantify.sentences import SHORT
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.tiling.mask import MaskClass, Tissue, TissueMask
from wsi_necrosis.tiling.quality import Measure

RANGES = Quality(0.3, 1.15, (25.0, 55.0), (0.75, 1.7), 0.24, 1.4, (235.0, 252.0), (0.97, 1.04), (0.97, 1.03))
GLASS = (243.0, 243.0, 243.0)


def slide(
    um2: float = 40.0, od: float = 1.2, nuclei: int = 20, blocks: float = 1.0, defocused: int = 0
) -> Scores:
    """A slide of 100 viable cells; the first ones are out of focus."""
    defocus = np.full((10, 10), 0.5, np.float32)
    defocus.ravel()[:defocused] = 2
    found = scores(np.full((10, 10, 3), VIABLE), defocus=defocus)
    quality = found.quality.copy()
    quality[..., Measure.BLOCKS :] = (blocks, nuclei, um2, od)
    return replace(found, quality=quality)


def codes(store: Scores, glass: tuple[float, float, float] | None = GLASS) -> list[str]:
    return [each.code for each in quality_warnings(check_slide(store, glass, (0.4, 0.1), RANGES, settings()))]


def test_a_slide_within_all_ranges_has_no_warning() -> None:
    checks = check_slide(slide(), GLASS, (0.4, 0.1), RANGES, settings())
    assert [check.name for check in checks] == list(SAID)
    assert not list(quality_warnings(checks))
    assert all(check.figure is not None and check.reason is None for check in checks)


@pytest.mark.parametrize(
    ("store", "glass", "code"),
    [
        (slide(defocused=6), GLASS, "focus"),
        (slide(blocks=1.5), GLASS, "jpeg_blocks"),
        (slide(um2=80), GLASS, "pixel_size"),
        (slide(um2=15), GLASS, "pixel_size"),
        (slide(od=0.6), GLASS, "stain_strength"),
        (slide(od=2.0), GLASS, "stain_strength"),
        (slide(), (219.0, 219.0, 219.0), "glass_brightness"),
        (slide(), (255.0, 255.0, 255.0), "glass_brightness"),
        (slide(), (255.0, 243.0, 243.0), "white_balance_red"),
        (slide(), (243.0, 243.0, 231.0), "white_balance_blue"),
    ],
)
def test_each_fault_has_a_warning_of_its_own(
    store: Scores, glass: tuple[float, float, float], code: str
) -> None:
    assert codes(store, glass) == [code]
    assert code in SHORT
    check = next(
        each for each in check_slide(store, glass, (0.4, 0.1), RANGES, settings()) if each.name == code
    )
    said = check.warning()
    assert said is not None
    edge = check.low if check.is_low else check.high
    assert f"{edge:.0f}" in said.text or f"{edge:.2f}" in said.text or f"{edge:.3f}" in said.text


def test_few_cells_out_of_focus_are_usual() -> None:
    assert codes(slide(defocused=5)) == []


@given(st.integers(0, 20), st.integers(0, 100))
def test_with_few_nuclei_size_and_stain_are_not_assessed(per_cell: int, defocused: int) -> None:
    store = slide(um2=500, od=9, nuclei=per_cell, defocused=defocused)
    found = {
        check.name: check
        for check in check_slide(store, GLASS, (0.4, 0.1), RANGES, settings(min_nuclei=1000))
    }
    known = per_cell >= 10  # in each of 100 cells
    for name in ("pixel_size", "stain_strength"):
        assert (found[name].warning() is not None) == known
        assert found[name].reason == (None if known else "too few nuclei")


def test_nuclei_of_few_cells_tell_nothing() -> None:
    store = slide(um2=500)
    store.quality[1:, :, Measure.NUCLEI] = 2
    store.quality[0, 0, Measure.NUCLEI] = 2
    store.quality[0, 1, Measure.NUCLEI] = 900
    assert codes(store) == []
    store.quality[0, 0, Measure.NUCLEI] = 3
    assert codes(store) == ["pixel_size"]


def test_without_glass_or_ranges_nothing_is_assessed() -> None:
    reasons = {
        check.name: check.reason for check in check_slide(slide(), None, (0.4, 0.1), RANGES, settings())
    }
    assert reasons["glass_brightness"] == reasons["white_balance_red"] == "no bare glass"
    assert reasons["stain_strength"] is None
    unknown = check_slide(slide(od=9, defocused=50), GLASS, None, None, settings())
    assert {check.reason for check in unknown} == {"this model has no ranges to compare with"}
    assert not list(quality_warnings(unknown))
    assert checks_facts(unknown)["focus"] == {
        "figure": None, "low": None, "high": None, "reason": "this model has no ranges to compare with"
    }  # fmt: skip


def test_a_check_at_its_edge_is_within_the_range() -> None:
    assert Check("pixel_size", 25.0, 25.0, 55.0).warning() is None
    assert Check("pixel_size", 55.0, 25.0, 55.0).warning() is None


@pytest.mark.parametrize(("share", "reason"), [(0.5, "out_of_focus"), (0.6, None)])
def test_a_slide_that_is_mostly_out_of_focus_is_not_evaluable(share: float, reason: str | None) -> None:
    score = measure(slide(defocused=60), settings(max_defocus_share=share))
    assert score.reason == reason
    assert score.defocus_mm2 == pytest.approx(60 * 100 * 0.001)
    assert score.ledger.abstained_by == {"ood": 0, "defocus": 6000, "uncertainty": 0}
    off = measure(slide(defocused=60), settings(max_defocus=np.inf))
    assert (off.reason, off.defocus_mm2, off.ledger.abstained) == (None, 0.0, 0)


@pytest.mark.parametrize(
    "change", [{"focus": 0.0}, {"blocks": np.nan}, {"red": (1.1, 0.9)}, {"nucleus_um2": (-1.0, 5.0)}]
)
def test_ranges_that_make_no_sense_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=r"above 0|lower end"):
        replace(RANGES, **change)


def test_very_dense_tissue_is_told() -> None:
    checks = check_slide(slide(), GLASS, (0.4, 1.2), RANGES, settings())
    assert [each.code for each in quality_warnings(checks)] == ["dense_tissue"]


def test_tissue_is_dense_by_its_optical_density() -> None:
    kind = np.full((4, 4), MaskClass.GLASS, np.uint8)
    kind[:2] = MaskClass.TISSUE
    rgb = np.full((4, 4, 3), 10, np.uint8)  # dark glass counts for nothing
    rgb[:2] = 120
    rgb[0, 0] = 30
    plane, mpp = Box(0, 0, 32, 32), Mpp(4.0, 4.0)
    overview = Overview(rgb, np.zeros((4, 4), bool), plane, (8, 8), mpp)
    tissue = Tissue(overview, TissueMask(kind, plane, (8, 8), mpp), overview)
    assert density_of(tissue, RANGES) == (pytest.approx(-np.log(121 / 256), abs=0.05), pytest.approx(12.5))
    assert density_of(tissue, None) is None


def test_pale_tissue_is_told() -> None:
    (found,) = quality_warnings(check_slide(slide(), GLASS, (0.2, 0.1), RANGES, settings()))
    assert found.code == "pale_tissue"
    assert "density of the tissue is 0.20 (at least 0.24 on the training tiles): stained weakly" in found.text
