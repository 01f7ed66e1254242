"""The stated truth of a phantom is what was painted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import openslide
import pytest

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.slides.phantom import (
    GLASS,
    MATERIALS,
    TEXTURE_GREY,
    PhantomTruth,
    _shapes,
    phantom_tiles,
    write_phantom,
)

MPPS = [Mpp(0.5, 0.5), Mpp(0.5, 0.25), Mpp(0.46, 0.46)]
SIDE_MM = 1.0


@pytest.fixture(scope="module", params=MPPS, ids=str)
def phantom(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PhantomTruth]:
    path = tmp_path_factory.mktemp("phantom") / "slide.tiff"
    return path, write_phantom(path, np.random.default_rng(7), side_mm=SIDE_MM, mpp=request.param)


def test_openslide_reads_its_size_pixel_size_and_levels(phantom: tuple[Path, PhantomTruth]) -> None:
    path, truth = phantom
    with openslide.OpenSlide(path) as slide:
        assert slide.dimensions == truth.size_l0
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(truth.mpp.x, rel=1e-5)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(truth.mpp.y, rel=1e-5)
        assert slide.properties["openslide.level[0].tile-width"] == "256"
    assert truth.size_l0[0] * truth.mpp.x == pytest.approx(1000 * SIDE_MM, abs=1)
    assert truth.size_l0[1] * truth.mpp.y == pytest.approx(1000 * SIDE_MM, abs=1)


def test_truth_equals_a_recount_of_the_shapes(phantom: tuple[Path, PhantomTruth]) -> None:
    _, truth = phantom
    width, height = truth.size_l0
    x_um = (np.arange(width, dtype=np.float64) + 0.5) * truth.mpp.x
    counts = dict.fromkeys(CLASSES, 0)
    for top in range(0, height, 500):
        y_um = ((np.arange(top, min(top + 500, height)) + 0.5) * truth.mpp.y)[:, None]
        label = np.full((len(y_um), width), -1)
        for shape in truth.shapes:
            label[shape.inside(x_um, y_um)] = CLASSES.index(shape.material)
        for index, name in enumerate(CLASSES):
            counts[name] += int((label == index).sum())
    assert truth.px == counts


def test_pixels_of_the_slide_have_the_colour_of_their_shape(phantom: tuple[Path, PhantomTruth]) -> None:
    path, truth = phantom
    with openslide.OpenSlide(path) as slide:
        for name in ("core", "viable", "stroma", "island"):
            shape = truth.shape(name)
            side = 0.9 * shape.radius_um
            corner = int((shape.x_um - side / 2) / truth.mpp.x), int((shape.y_um - side / 2) / truth.mpp.y)
            size = int(side / truth.mpp.x), int(side / truth.mpp.y)
            mean = np.asarray(slide.read_region(corner, 0, size))[..., :3].mean(axis=(0, 1))
            assert np.allclose(mean, MATERIALS[shape.material], atol=4), (
                name
            )  # texture and JPEG move the mean of a part


def test_truth_beside_the_slide(phantom: tuple[Path, PhantomTruth]) -> None:
    path, truth = phantom
    facts = json.loads(path.with_suffix(".truth.json").read_text())
    assert facts["px"] == truth.px
    assert facts["area_mm2"] == pytest.approx(truth.area_mm2)
    viable, dead = truth.area_mm2["viable"], truth.area_mm2["non_viable"]
    assert facts["percent_viable"] == truth.percent_viable == pytest.approx(100 * viable / (viable + dead))


def test_shapes_do_not_depend_on_the_pixel_size(tmp_path: Path) -> None:
    truths = [
        write_phantom(tmp_path / f"{at}.tiff", np.random.default_rng(1), side_mm=1, mpp=mpp)
        for at, mpp in enumerate(MPPS)
    ]
    for truth in truths[1:]:
        assert truth.shapes == truths[0].shapes
        assert truth.area_mm2 == pytest.approx(truths[0].area_mm2, rel=2e-3)


def test_same_seed_same_file_and_other_seed_other_shapes(tmp_path: Path) -> None:
    digests, truths = [], []
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        path = tmp_path / f"{name}.tiff"
        truths.append(write_phantom(path, np.random.default_rng(seed), side_mm=1))
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]
    assert truths[0] == truths[1] != truths[2]


def test_a_whole_phantom_can_be_evaluated() -> None:
    """More than 1 mm2 of tumour, a piece of 15 tiles (32 um) of every class, one focus below a tile."""
    shapes = {shape.name: shape for shape in _shapes(np.random.default_rng(0), 4.0)}
    for material in CLASSES:
        assert max(2 * s.radius_um for s in shapes.values() if s.material == material) > 15 * 32
    assert 2 * shapes["focus"].radius_um < 32
    assert np.pi * shapes["necrosis"].radius_um ** 2 > 1e6


@pytest.mark.parametrize("material", [*CLASSES, "glass"])
def test_tiles_of_one_material(material: str) -> None:
    tiles = phantom_tiles(material, 3, 64, np.random.default_rng(0))
    wanted = MATERIALS.get(material, GLASS)
    assert tiles.shape == (3, 64, 64, 3)
    assert tiles.dtype == np.uint8
    assert np.allclose(tiles.mean(axis=(0, 1, 2)), wanted, atol=1.5)
    assert tiles.min() > 0
    assert tiles.max() < 255


@pytest.mark.parametrize("density", [False, True], ids=["light", "optical density"])
def test_the_colours_of_glass_and_classes_are_affinely_independent(density: bool) -> None:
    colours = np.array([GLASS, *(MATERIALS[name] for name in CLASSES)], float)
    if density:
        colours = -np.log10(colours / 243)
    *_, least = np.linalg.svd(colours[1:] - colours[0], compute_uv=False)
    assert least > (0.03 if density else 15)  # several times what texture moves a tile's mean


def test_texture_clips_nowhere() -> None:
    for name, deviation in zip(CLASSES, TEXTURE_GREY, strict=True):
        assert min(MATERIALS[name]) - 3 * deviation > 0
        assert max(MATERIALS[name]) + 3 * deviation < 255
