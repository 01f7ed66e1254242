"""What every reader promises; the same picture is written in each format and must come back alike."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsi_necrosis.errors import PixelSizeError, SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide

HEIGHT, WIDTH, TILE = 500, 700, 128
MPP = Mpp(0.5, 0.25)
BAD = (2, 1)  # column and row of the stored tile that is damaged


def picture() -> np.ndarray:
    """Smooth in colour, noisy in detail, so that both shifts and wrong averages show."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([rows % 256, cols % 256, (rows + cols) % 256], -1)
    noise = np.random.default_rng(7).integers(-20, 21, smooth.shape)
    return np.clip(smooth + noise, 0, 254).astype(np.uint8)  # never white


def reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    height, width = (length // factor * factor for length in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels[:height, :width]).reduce(factor))


def levels_of(pixels: np.ndarray) -> list[np.ndarray]:
    return [pixels, reduced(pixels, 2), reduced(pixels, 4)]


OPTIONS = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "adobe_deflate"}


def write_generic(path: Path, pixels: np.ndarray) -> None:
    resolution = (1e4 / MPP.x, 1e4 / MPP.y)
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate(levels_of(pixels)):
            tiff.write(
                level,
                resolution=resolution,
                resolutionunit="CENTIMETER",
                subfiletype=int(index > 0),
                metadata=None,
                **OPTIONS,
            )


def write_ome(path: Path, pixels: np.ndarray) -> None:
    sizes = {"PhysicalSizeX": MPP.x, "PhysicalSizeY": MPP.y * 1000, "PhysicalSizeYUnit": "nm"}
    finest, *rest = levels_of(pixels)
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(finest, subifds=len(rest), metadata={"axes": "YXS", **sizes}, **OPTIONS)
        for level in rest:
            tiff.write(level, subfiletype=1, metadata=None, **OPTIONS)


@dataclass(frozen=True)
class Format:
    """A way to store the picture."""

    name: str
    write: object
    vendor: str
    source: str


FORMATS = [
    Format("slide.tif", write_generic, "generic-tiff", "TIFF resolution"),
    pytest.param(
        Format("slide.tif", write_ome, "ome-tiff", "metadata"),
        marks=pytest.mark.skipif(
            importlib.util.find_spec("tiatoolbox") is None, reason="tiatoolbox is not installed"
        ),
    ),
]


@pytest.fixture(scope="module", params=FORMATS, ids=["openslide", "tiatoolbox"])
def stored(request, tmp_path_factory) -> tuple[Path, Format, np.ndarray]:
    pixels = picture()
    path = tmp_path_factory.mktemp(request.param.vendor) / request.param.name
    request.param.write(path, pixels)
    return path, request.param, pixels


@pytest.fixture
def slide(stored):
    with open_slide(stored[0]) as opened:
        yield opened


@pytest.fixture
def damaged(stored, tmp_path) -> Path:
    """The same file with one stored tile of level 0 overwritten."""
    data = bytearray(stored[0].read_bytes())
    with tifffile.TiffFile(stored[0]) as tiff:
        page = tiff.pages[0]
        index = BAD[1] * -(-WIDTH // TILE) + BAD[0]
        offset, length = page.dataoffsets[index], page.databytecounts[index]
    data[offset : offset + length] = b"\xff" * length
    path = tmp_path / stored[0].name
    path.write_bytes(data)
    return path


def test_information(stored, slide):
    path, form, _ = stored
    info = slide.info
    assert (info.path, info.files) == (path, (path,))
    assert (info.vendor, info.mpp_source) == (form.vendor, form.source)
    assert info.size_l0 == (WIDTH, HEIGHT)
    assert info.plane == Box(0, 0, WIDTH, HEIGHT)
    assert info.bounds_l0 == (0, 0)
    assert info.downsamples == (1.0, 2.0, 4.0)
    assert info.levels == ((700, 500), (350, 250), (175, 125))
    assert info.known_mpp.x == pytest.approx(MPP.x, rel=1e-6)
    assert info.known_mpp.y == pytest.approx(MPP.y, rel=1e-6)


def test_native_pixels_are_exact(stored, slide):
    region = slide.read(Box(101, 57, 200, 150), slide.info.known_mpp)
    np.testing.assert_array_equal(region.rgb, stored[2][57:207, 101:301])
    assert region.rgb.dtype == np.uint8
    assert region.unreadable == ()


@pytest.mark.parametrize("factor", [2, 4])
def test_a_stored_level_is_taken_as_it_is(stored, slide, factor):
    region = slide.read(Box(40, 80, 400, 240), slide.info.known_mpp.scaled(factor, factor))
    expected = reduced(stored[2], factor)[80 // factor : 320 // factor, 40 // factor : 440 // factor]
    np.testing.assert_array_equal(region.rgb, expected)


def test_isotropic_pixels_of_an_anisotropic_slide(stored, slide):
    region = slide.read(Box(8, 16, 400, 320), Mpp(1.0, 1.0))
    expected = Image.fromarray(stored[2][16:336, 8:408]).reduce((2, 4))
    assert region.rgb.shape == (80, 200, 3)
    assert np.abs(region.rgb.astype(int) - np.asarray(expected)).max() <= 1


def test_fractional_pixels_keep_the_mean(stored, slide):
    region = slide.read(Box(100, 100, 330, 330), slide.info.known_mpp.scaled(1.1, 1.65))  # columns, rows
    assert region.rgb.shape == (200, 300, 3)
    np.testing.assert_allclose(region.rgb.mean((0, 1)), stored[2][100:430, 100:430].mean((0, 1)), atol=0.1)


def test_overhang_is_white(stored, slide):
    region = slide.read(Box(-100, -50, WIDTH + 200, HEIGHT + 100), slide.info.known_mpp)
    np.testing.assert_array_equal(region.rgb[50:-50, 100:-100], stored[2])
    outside = region.rgb.astype(int)
    outside[50:-50, 100:-100] = 255
    assert (outside == 255).all()
    assert (slide.read(Box(5000, 5000, 64, 64), slide.info.known_mpp).rgb == 255).all()


def test_threads_read_alike(stored, slide):
    boxes = [Box(x, y, 150, 120) for x in range(0, 500, 50) for y in range(0, 300, 60)]
    with ThreadPoolExecutor(4) as pool:
        regions = list(pool.map(lambda box: slide.read(box, slide.info.known_mpp), boxes))
    for box, region in zip(boxes, regions, strict=True):
        x, y = int(box.x_l0), int(box.y_l0)
        np.testing.assert_array_equal(region.rgb, stored[2][y : y + 120, x : x + 150])


def test_overview_covers_the_plane(stored, slide):
    overview = read_overview(slide, 4.0)
    assert overview.px_l0 == (8, 16)
    assert overview.mpp.x == pytest.approx(4.0)
    assert overview.mpp.y == pytest.approx(4.0)
    assert overview.rgb.shape == (32, 88, 3)  # rounded up: 500 / 16 and 700 / 8
    assert not overview.unreadable.any()
    expected = Image.fromarray(stored[2][:496, :696]).reduce((8, 16))
    assert np.abs(overview.rgb[:31, :87].astype(int) - np.asarray(expected)).max() <= 2


def test_only_the_damaged_tile_is_unreadable(stored, damaged):
    lost = Box(BAD[0] * TILE, BAD[1] * TILE, TILE, TILE)
    with open_slide(damaged) as slide:
        region = slide.read(Box(0, 0, WIDTH, HEIGHT), slide.info.known_mpp)
        again = slide.read(Box(lost.x_l0 + 100, lost.y_l0 + 100, 100, 100), slide.info.known_mpp)
    assert region.unreadable == (lost,)
    assert again.unreadable == (Box(lost.x_l0 + 100, lost.y_l0 + 100, 28, 28),)
    expected = stored[2].copy()
    expected[TILE : 2 * TILE, 2 * TILE : 3 * TILE] = 255
    np.testing.assert_array_equal(region.rgb, expected)


def test_overview_marks_what_it_touches(damaged):
    with open_slide(damaged, Mpp(0.5, 0.5)) as slide:
        overview = read_overview(slide, 0.5 * 1.3)  # level 0 is read, at its own size
    assert overview.px_l0 == (1, 1)
    assert np.argwhere(overview.unreadable).min(0).tolist() == [TILE, 2 * TILE]
    assert overview.unreadable.sum() == TILE * TILE


def test_given_pixel_size_goes_before_the_files(stored):
    with open_slide(stored[0], Mpp(1.0, 1.0)) as slide:
        assert slide.info.mpp == Mpp(1.0, 1.0)
        assert slide.info.mpp_source == "--mpp, while the slide states 0.5 x 0.25"
        assert slide.read(Box(0, 0, 100, 60), Mpp(2.0, 2.0)).rgb.shape == (30, 50, 3)
    with pytest.raises(PixelSizeError, match="--mpp 352"):
        open_slide(stored[0], Mpp(352, 352))


def test_a_cut_file_fails_with_a_slide_error(stored, tmp_path):
    path = tmp_path / stored[0].name
    path.write_bytes(stored[0].read_bytes()[:500])
    with pytest.raises(SlideError, match=r"slide\.tif") as caught:
        open_slide(path, MPP)
    assert caught.value.exit_code == 1


def test_fingerprint_is_of_the_content(stored, damaged):
    with open_slide(stored[0]) as slide, open_slide(damaged) as other:
        assert slide_fingerprint(slide.info.files) != slide_fingerprint(other.info.files)
