from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from scipy.spatial import KDTree
from shapely import MultiPoint
from skimage import draw
from skimage.measure import label, regionprops
from skimage.morphology import disk
from skimage.segmentation import relabel_sequential

from wsi_necrosis.radiomics import nuclei
from wsi_necrosis.radiomics.families import NUCLEI
from wsi_necrosis.radiomics.nuclei import find_nuclei
from wsi_necrosis.radiomics.nuclei_statistics import describe_nuclei
from wsi_necrosis.radiomics.planes import split
from wsi_necrosis.radiomics.recipe import NucleusRule
from wsi_necrosis.stain.separation import stain_matrix

RULE = NucleusRule()
SIDE = 224
NOTHING = dict.fromkeys(NUCLEI, 0.0)
STATISTICS = ("mean", "std", "10Percentile", "Median", "90Percentile")


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
            plane[draw.disk((row, col), radius_px, shape=plane.shape)] = depth
    return plane


def planes(tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and residual of an RGB tile."""
    found = split(tile, ("haematoxylin", "residual"))
    return found["haematoxylin"], found["residual"]


def described(
    labels: np.ndarray, haematoxylin: np.ndarray | None = None, rule: NucleusRule = RULE, mpp: float = 1.0
) -> dict[str, float]:
    density = np.zeros(labels.shape, np.float32) if haematoxylin is None else haematoxylin
    values = describe_nuclei(labels, density, np.ones(labels.shape, bool), rule, mpp)
    return dict(zip(NUCLEI, values.tolist(), strict=True))


def found(tile: np.ndarray, tissue: np.ndarray | None = None, mpp: float = 1.0) -> dict[str, float]:
    haematoxylin, residual = planes(tile)
    mask = np.ones(tile.shape[:2], bool) if tissue is None else tissue
    labels = find_nuclei(haematoxylin, residual, mask, RULE, mpp)
    values = describe_nuclei(labels, haematoxylin, mask, RULE, mpp)
    return dict(zip(NUCLEI, values.tolist(), strict=True))


# The same by scipy, scikit-image and shapely.


def labels_by_scipy(
    haematoxylin: np.ndarray, residual: np.ndarray, tissue: np.ndarray, rule: NucleusRule, mpp: float
) -> np.ndarray:
    blurred = ndimage.gaussian_filter(haematoxylin, rule.blur_um / mpp)
    window = max(1, round(rule.background_um / mpp))
    total = ndimage.uniform_filter(np.where(tissue, blurred.astype(float), 0), window)
    share = ndimage.uniform_filter(tissue.astype(float), window)
    mean = np.divide(total, share, out=np.zeros_like(total), where=share > 0.5 / window**2)
    dark = tissue & (blurred > rule.min_od) & (blurred - mean > rule.min_contrast)
    dark &= residual <= rule.max_residual_share * blurred
    dark = ndimage.binary_opening(dark, disk(round(rule.open_um / mpp), dtype=bool))
    labels = label(dark, connectivity=1)
    areas_um2 = np.bincount(labels.ravel()) * mpp**2
    kept = (areas_um2 >= rule.min_um2) & (areas_um2 <= rule.max_um2)
    return relabel_sequential(np.where(kept[labels], labels, 0))[0]


def hull_area(coords: np.ndarray) -> float:
    corners = coords[:, None] + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    return MultiPoint(corners.reshape(-1, 2)).convex_hull.area


def statistics_by_scikit_image(
    labels: np.ndarray, haematoxylin: np.ndarray, rule: NucleusRule, mpp: float
) -> dict[str, float]:
    """All pixels are tissue, and at least two nuclei are whole."""
    height, width = labels.shape
    regions = regionprops(labels, intensity_image=haematoxylin.astype(float))
    whole = []
    for region in regions:
        top, left, bottom, right = region.bbox
        if top > 0 and left > 0 and bottom < height and right < width:
            whole.append(region)
    assert len(whole) > 1
    values = {
        "area_um2": np.array([region.area for region in whole]) * mpp**2,
        "eccentricity": np.array([region.eccentricity for region in whole]),
        "solidity": np.array([region.area / hull_area(region.coords) for region in whole]),
        "od": np.array([region.intensity_mean for region in whole]),
    }
    centroids = np.array([region.centroid for region in regions])
    nearest = KDTree(centroids).query(centroids, 2)[0][:, 1] * mpp
    expected = {
        "density_per_mm2": (len(regions) + len(whole)) / 2 / (labels.size * mpp**2 / 1e6),
        "area_fraction": np.count_nonzero(labels) / labels.size,
        "neighbour_um_mean": nearest.mean(),
        "neighbour_um_std": nearest.std(),
        "pale_share": np.mean(values["od"] < rule.pale_od),
    }
    for name, of_whole in values.items():
        numbers = (of_whole.mean(), of_whole.std(), *np.percentile(of_whole, (10, 50, 90)))
        expected |= {f"{name}_{kind}": number for kind, number in zip(STATISTICS, numbers, strict=True)}
    return expected


def assert_described_as_by_scikit_image(labels: np.ndarray, haematoxylin: np.ndarray, mpp: float) -> None:
    rule = replace(RULE, pale_od=float(np.median(haematoxylin[labels > 0])))
    theirs = statistics_by_scikit_image(labels, haematoxylin, rule, mpp)
    ours = described(labels, haematoxylin, rule, mpp)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    assert 0 < ours["pale_share"] < 1


def cloudy(seed: int, shape: tuple[int, int], grain_px: float) -> np.ndarray:
    """Smooth noise of mean 0.7 and deviation 0.4, about that of haematoxylin."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), grain_px, mode="wrap")
    return (0.7 + 0.4 * (noise - noise.mean()) / (noise.std() + 1e-6)).astype(np.float32)


def blobs(seed: int) -> np.ndarray:
    """Labelled random regions, some cut by the edge."""
    noise = cloudy(seed, (120, 120), 2.5)
    return label(noise > np.quantile(noise, 0.8), connectivity=1).astype(np.int32)


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    grain_px=st.floats(0, 5),
    mpp=st.sampled_from([0.25, 0.5, 0.503, 1.0, 2.0, 30.0]),
    rule=st.builds(
        NucleusRule,
        min_contrast=st.sampled_from([0.05, 0.15]),
        background_um=st.sampled_from([0.0, 10.0, 41.0]),
        max_residual_share=st.sampled_from([0.2, 0.6]),
        blur_um=st.sampled_from([0.0, 0.1, 0.8, 3.0]),
        open_um=st.sampled_from([0.0, 1.0, 2.0]),
        min_um2=st.sampled_from([0.0, 20.0]),
        max_um2=st.sampled_from([100.0, 1e9]),
    ),
)
def test_labels_of_clouds_are_those_of_scipy(
    seed: int, shape: tuple[int, int], grain_px: float, mpp: float, rule: NucleusRule
) -> None:
    haematoxylin, residual = (
        cloudy(seed, shape, grain_px),
        cloudy(seed + 1, shape, grain_px) * np.float32(0.4),
    )
    tissue = cloudy(seed + 2, shape, grain_px) > 0.3
    labels = find_nuclei(haematoxylin, residual, tissue, rule, mpp)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, labels_by_scipy(haematoxylin, residual, tissue, rule, mpp))


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([0.5, 1.0]))
def test_statistics_of_blobs_are_those_of_scikit_image_and_shapely(seed: int, mpp: float) -> None:
    assert_described_as_by_scikit_image(blobs(seed), cloudy(seed + 1, (120, 120), 8), mpp)


@pytest.mark.real
@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_labels_of_real_tiles_are_those_of_scipy(data_dir: Path, mpp: float) -> None:
    counts, differing, pixels = [], 0, 0
    for tile in real_tiles(data_dir, mpp):
        haematoxylin, residual = planes(tile)
        tissue = tile.mean(-1) < 225
        labels = find_nuclei(haematoxylin, residual, tissue, RULE, mpp)
        theirs = labels_by_scipy(haematoxylin, residual, tissue, RULE, mpp)
        differing += np.count_nonzero((labels > 0) != (theirs > 0))
        pixels += labels.size
        counts.append(labels.max())
    assert differing <= 1e-6 * pixels  # a processor that rounds otherwise may flip a pixel
    assert len(counts) >= 40
    assert max(counts) > 100


@pytest.mark.real
@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_statistics_of_real_tiles_are_those_of_scikit_image_and_shapely(data_dir: Path, mpp: float) -> None:
    for tile in real_tiles(data_dir, mpp)[::8]:
        haematoxylin, residual = planes(tile)
        labels = find_nuclei(haematoxylin, residual, np.ones(haematoxylin.shape, bool), RULE, mpp)
        if labels.max() > 10:
            assert_described_as_by_scikit_image(labels, haematoxylin, mpp)


def real_tiles(data_dir: Path, mpp: float) -> list[np.ndarray]:
    """A corner of each tile: 512 px of 0.5 um, or 256 px of 1.0 um."""
    paths = sorted(path for path in (data_dir / "tcia_os").iterdir() if path.suffix in (".jpg", ".png"))
    corners = (Image.open(path).convert("RGB").crop((0, 0, 512, 512)) for path in paths)
    return [np.asarray(corner.reduce(round(mpp / 0.5))) for corner in corners]


@pytest.mark.parametrize(("mpp", "radius_px", "spacing_px"), [(1.0, 5, 20), (0.5, 10, 40), (1.0, 4, 16)])
def test_discs_are_counted_and_measured(mpp: float, radius_px: float, spacing_px: int) -> None:
    count = (SIDE // spacing_px - 1) ** 2
    statistics = found(stained(discs(radius_px, spacing_px)), mpp=mpp)
    disc_um2 = np.pi * (radius_px * mpp) ** 2
    tissue_mm2 = (SIDE * mpp) ** 2 / 1e6
    assert statistics["density_per_mm2"] == pytest.approx(count / tissue_mm2, rel=1e-9)
    assert statistics["area_um2_mean"] == pytest.approx(disc_um2, rel=0.12)
    assert statistics["area_um2_std"] == pytest.approx(0, abs=0.05 * disc_um2)
    assert statistics["area_fraction"] == pytest.approx(count * disc_um2 / (tissue_mm2 * 1e6), rel=0.12)
    assert statistics["eccentricity_mean"] < 0.2
    assert statistics["solidity_mean"] > 0.85
    assert 1.0 < statistics["od_Median"] < 1.21  # the blur takes a rim of the ground in
    assert statistics["neighbour_um_mean"] == pytest.approx(spacing_px * mpp, rel=1e-3)
    assert statistics["neighbour_um_std"] == pytest.approx(0, abs=0.1)


def test_long_nuclei_are_eccentric() -> None:
    plane = np.full((SIDE, SIDE), 0.2)
    for row in range(20, 210, 20):
        plane[draw.ellipse(row, 110, 3, 9)] = 1.2
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
    assert found(tile) == NOTHING


def test_nuclei_lie_in_tissue_and_count_per_tissue() -> None:
    tissue = np.zeros((SIDE, SIDE), bool)
    tissue[:, : SIDE // 2] = True
    tile = stained(discs(5, 20))
    statistics = found(tile, tissue)
    labels = find_nuclei(*planes(tile), tissue, RULE, 1.0)
    assert not labels[~tissue].any()
    assert statistics["density_per_mm2"] == pytest.approx(5 * 10 / (tissue.sum() / 1e6), rel=1e-9)
    assert statistics["area_fraction"] == pytest.approx((labels > 0).sum() / tissue.sum())


def test_no_tissue_gives_zeros() -> None:
    nowhere = np.zeros((SIDE, SIDE), bool)
    assert found(stained(discs(5, 20)), nowhere) == NOTHING
    labels = np.ones(nowhere.shape, np.int32)
    assert not describe_nuclei(labels, labels.astype(np.float32), nowhere, RULE, 1.0).any()


def test_limits_of_size_belong_to_the_range() -> None:
    haematoxylin, residual = planes(stained(discs(5, 20)))
    tissue = np.ones(haematoxylin.shape, bool)

    def count(min_px: float, max_px: float) -> int:
        rule = replace(RULE, min_um2=min_px / 4, max_um2=max_px / 4)
        return find_nuclei(haematoxylin, residual, tissue, rule, 0.5).max()

    size = np.count_nonzero(find_nuclei(haematoxylin, residual, tissue, RULE, 0.5) == 1)
    assert count(size, size) > 0
    assert count(size + 1, 1000) == count(0, size - 1) == 0


def test_any_memory_layout_and_threads_give_the_same_labels_with_one_compilation() -> None:
    stains = np.stack(planes(stained(discs(5, 20))), axis=-1)  # so that a plane is not contiguous
    stains.flags.writeable = False
    tissue = np.broadcast_to(np.True_, (SIDE, SIDE))
    expected = find_nuclei(stains[..., 0].copy(), stains[..., 1].copy(), tissue.copy(), RULE, 1.0)
    with ThreadPoolExecutor(4) as pool:
        tasks = [
            pool.submit(find_nuclei, stains[..., 0], stains[..., 1], tissue, RULE, 1.0) for _ in range(16)
        ]
    assert expected.max() == 100
    for task in tasks:
        np.testing.assert_array_equal(task.result(), expected)
    assert len(nuclei._find.signatures) == 1  # another one takes seconds


def test_a_nucleus_on_the_edge_counts_as_half_and_has_neither_shape_nor_stain() -> None:
    labels = np.zeros((50, 50), np.int32)
    labels[0:6, 10:16], labels[20:26, 20:30] = 1, 2
    haematoxylin = np.where(labels == 1, 0.1, 1.0).astype(np.float32)
    statistics = described(labels, haematoxylin)
    assert statistics["density_per_mm2"] == pytest.approx(1.5 / 2500e-6)
    assert statistics["area_um2_mean"] == statistics["area_um2_10Percentile"] == 60
    assert statistics["area_fraction"] == pytest.approx(96 / 2500)
    assert statistics["od_mean"] == 1
    assert statistics["pale_share"] == 0
    assert statistics["neighbour_um_mean"] == pytest.approx(np.hypot(20, 12))


@pytest.mark.parametrize("place", [(0, 9), (39, 9), (9, 0), (9, 39)], ids=["top", "bottom", "left", "right"])
def test_nuclei_on_edges_alone_have_density_and_no_more(place: tuple[int, int]) -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[place] = 1
    expected = NOTHING | {"density_per_mm2": 0.5 / 1600e-6, "area_fraction": 1 / 1600}
    assert described(labels) == pytest.approx(expected)


def test_one_pixel_has_no_eccentricity_and_no_neighbour_and_numbers_may_be_left_out() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[9, 9] = 7
    statistics = described(labels)
    assert statistics["density_per_mm2"] == pytest.approx(1 / 1600e-6)
    assert statistics["eccentricity_mean"] == 0
    assert statistics["solidity_mean"] == 1
    assert statistics["neighbour_um_mean"] == statistics["neighbour_um_std"] == 0


def test_nuclei_below_the_threshold_are_pale() -> None:
    labels = np.zeros((40, 40), np.int32)
    haematoxylin = np.zeros((40, 40), np.float32)
    for number, density in enumerate((0.5, 0.625, 0.75, 1.0), start=1):
        labels[5 * number, 5:10] = number
        haematoxylin[5 * number, 5:10] = density
    assert described(labels, haematoxylin, replace(RULE, pale_od=0.75))["pale_share"] == 0.5
    assert described(labels, haematoxylin, replace(RULE, pale_od=0.76))["pale_share"] == 0.75


def test_solidity_is_the_area_over_the_hull() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 10:24] = 1
    assert described(labels)["solidity_mean"] == 1
    labels[10:16, 14:24] = 0  # an L of 80 pixels; its hull lacks the triangle of 10 and 6 from 140
    assert described(labels)["solidity_mean"] == 80 / (140 - 30)


def test_solidity_is_a_few_percent_below_that_of_scikit_image() -> None:
    labels = blobs(7)
    ratios = []
    for region in regionprops(labels):
        if region.area >= 20 and min(region.bbox) > 0 and max(region.bbox) < 120:
            ours = described((labels == region.label).astype(np.int32))["solidity_mean"]
            ratios.append(ours / region.solidity)
    assert len(ratios) > 20
    assert min(ratios) > 0.8
    assert np.mean(ratios) == pytest.approx(0.95, abs=0.04)
    assert max(ratios) <= 1.001
