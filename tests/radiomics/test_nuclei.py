from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import spearmanr
from skimage.draw import disk, ellipse
from skimage.measure import label, regionprops_table

from wsi_necrosis.radiomics import NucleusRule
from wsi_necrosis.radiomics.nuclei import describe_nuclei, find_nuclei
from wsi_necrosis.radiomics.recipe import NUCLEI
from wsi_necrosis.stain import separate_stains, stain_matrix

RULE = NucleusRule()
SIDE = 224


def stained(haematoxylin: np.ndarray, eosin: float = 0.4, residual: float = 0.1) -> np.ndarray:
    """RGB of a tile whose densities are given; haematoxylin per pixel."""
    density = np.stack(
        [haematoxylin, np.full_like(haematoxylin, eosin), np.full_like(haematoxylin, residual)], -1
    )
    return np.clip(np.rint(256 * np.exp(-density @ stain_matrix()) - 1), 0, 255).astype(np.uint8)


def discs(radius_px: float, spacing_px: int, depth: float = 1.2, ground: float = 0.2) -> np.ndarray:
    """Haematoxylin with discs on a lattice that keeps clear of the edge."""
    plane = np.full((SIDE, SIDE), ground)
    for row in range(spacing_px, SIDE - spacing_px + 1, spacing_px):
        for col in range(spacing_px, SIDE - spacing_px + 1, spacing_px):
            plane[disk((row, col), radius_px, shape=plane.shape)] = depth
    return plane


def found(tile: np.ndarray, tissue: np.ndarray | None = None, mpp: float = 1.0) -> dict[str, float]:
    mask = np.ones(tile.shape[:2], bool) if tissue is None else tissue
    return describe_nuclei(find_nuclei(separate_stains(tile), mask, RULE, mpp), mask, mpp)


@pytest.mark.parametrize(("mpp", "radius_px", "spacing_px"), [(1.0, 5, 20), (0.5, 10, 40), (1.0, 4, 16)])
def test_discs_are_counted_and_measured(mpp: float, radius_px: float, spacing_px: int) -> None:
    plane = discs(radius_px, spacing_px)
    count = (SIDE // spacing_px - 1) ** 2
    statistics = found(stained(plane), mpp=mpp)
    disc_um2 = np.pi * (radius_px * mpp) ** 2
    tissue_mm2 = (SIDE * mpp) ** 2 / 1e6
    assert statistics["density_per_mm2"] == pytest.approx(count / tissue_mm2, rel=1e-9)
    assert statistics["area_um2_mean"] == pytest.approx(disc_um2, rel=0.12)
    assert statistics["area_um2_std"] == pytest.approx(0, abs=0.05 * disc_um2)
    assert statistics["area_fraction"] == pytest.approx(count * disc_um2 / (tissue_mm2 * 1e6), rel=0.12)
    assert statistics["eccentricity_mean"] < 0.2
    assert statistics["solidity_mean"] > 0.85


def test_long_nuclei_are_eccentric() -> None:
    plane = np.full((SIDE, SIDE), 0.2)
    for row in range(20, 210, 20):
        plane[ellipse(row, 110, 3, 9)] = 1.2
    statistics = found(stained(plane))
    assert statistics["eccentricity_mean"] == pytest.approx(np.sqrt(1 - (3 / 9) ** 2), abs=0.03)


@pytest.mark.parametrize(
    "tile",
    [
        pytest.param(np.full((SIDE, SIDE, 3), 255, np.uint8), id="white"),
        pytest.param(stained(np.full((SIDE, SIDE), 0.2), eosin=1.0), id="eosin"),
        pytest.param(stained(np.full((SIDE, SIDE), 1.2)), id="even haematoxylin"),
        pytest.param(stained(discs(5, 20, depth=0.4)), id="pale ghosts"),
        pytest.param(stained(discs(1, 20)), id="dots"),
        pytest.param(stained(discs(25, 80)), id="lakes"),
        pytest.param(stained(discs(5, 20), eosin=1.0, residual=1.2), id="red blood cells"),
    ],
)
def test_what_is_no_nucleus_is_not_found(tile: np.ndarray) -> None:
    assert found(tile) == dict.fromkeys(NUCLEI, 0.0)


def test_nuclei_lie_in_tissue_and_count_per_tissue() -> None:
    tissue = np.zeros((SIDE, SIDE), bool)
    tissue[:, : SIDE // 2] = True
    statistics = found(stained(discs(5, 20)), tissue)
    labels = find_nuclei(separate_stains(stained(discs(5, 20))), tissue, RULE, 1.0)
    assert not labels[~tissue].any()
    assert statistics["density_per_mm2"] == pytest.approx(5 * 10 / (tissue.sum() / 1e6), rel=1e-9)


def test_a_nucleus_on_the_edge_counts_as_half_and_has_no_shape() -> None:
    labels = np.zeros((50, 50), np.int32)
    labels[0:6, 10:16], labels[20:26, 20:30] = 1, 2
    tissue = np.ones((50, 50), bool)
    statistics = describe_nuclei(labels, tissue, 1.0)
    assert statistics["density_per_mm2"] == pytest.approx(1.5 / 2500e-6)
    assert statistics["area_um2_mean"] == 60
    assert statistics["area_fraction"] == pytest.approx(96 / 2500)


def test_no_tissue_gives_zeros() -> None:
    assert found(stained(discs(5, 20)), np.zeros((SIDE, SIDE), bool)) == dict.fromkeys(NUCLEI, 0.0)


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_areas_and_eccentricities_are_those_of_scikit_image(seed: int) -> None:
    labels = _blobs(seed)
    theirs = regionprops_table(labels, properties=("area", "eccentricity"))
    statistics = describe_nuclei(labels, np.ones(labels.shape, bool), 0.5)
    assert statistics["area_um2_mean"] == pytest.approx(theirs["area"].mean() / 4)
    assert statistics["area_um2_std"] == pytest.approx(theirs["area"].std() / 4)
    assert statistics["eccentricity_mean"] == pytest.approx(theirs["eccentricity"].mean(), abs=1e-7)
    assert statistics["eccentricity_std"] == pytest.approx(theirs["eccentricity"].std(), abs=1e-7)


def test_solidity_orders_nuclei_as_that_of_scikit_image() -> None:
    labels = _blobs(7)
    theirs = regionprops_table(labels, properties=("solidity", "area"))
    alone = [
        describe_nuclei((labels == number).astype(np.int32), np.ones(labels.shape, bool), 1.0)[
            "solidity_mean"
        ]
        for number in range(1, labels.max() + 1)
    ]
    large = theirs["area"] >= 20
    assert large.sum() > 20
    assert spearmanr(np.array(alone)[large], theirs["solidity"][large]).statistic > 0.9
    assert 0 < min(alone) <= max(alone) <= 1 + 1e-9


def test_a_square_is_solid_and_an_l_is_not() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 10:20] = 1
    tissue = np.ones(labels.shape, bool)
    assert describe_nuclei(labels, tissue, 1.0)["solidity_mean"] == pytest.approx(1)
    labels[10:16, 14:20] = 0  # a thick L: 64 of a hull of 82
    assert describe_nuclei(labels, tissue, 1.0)["solidity_mean"] == pytest.approx(64 / 82, rel=0.01)


def _blobs(seed: int) -> np.ndarray:
    """Labelled random regions that keep clear of the edge."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(120, 120)), 2.5)
    mask = noise > np.quantile(noise, 0.8)
    mask[[0, -1]] = mask[:, [0, -1]] = False
    labels = label(mask, connectivity=1)
    touching = np.unique(np.concatenate([labels[1], labels[-2], labels[:, 1], labels[:, -2]]))
    kept = label(mask & ~np.isin(labels, touching[touching > 0]), connectivity=1)
    return kept.astype(np.int32)
