"""The contract of every reader: the same picture, written in each format, is read back the same."""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from tests.helpers.runs import PHANTOM
from wsi_necrosis.analysis import analyse
from wsi_necrosis.errors import PixelSizeError, ReadError, SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.phantom import PhantomTruth, write_phantom
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


def write_jpeg_2000(path: Path, pixels: np.ndarray) -> None:
    """Pillow writes no resolution; its box is added to those of the header."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(
        stream, "JPEG2000", tile_size=(TILE, TILE), num_resolutions=3, irreversible=False
    )
    data = stream.getvalue()
    at = data.index(b"jp2h") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    per_m = (
        round(1e4 / MPP.y),
        1,
        round(1e4 / MPP.x),
        1,
        2,
        2,
    )  # down, then across; the last are powers of 10
    capture = struct.pack(">I4sHHHHbb", 18, b"resc", *per_m)
    boxes = data[at + 8 : at + length] + struct.pack(">I4s", 8 + len(capture), b"res ") + capture
    header = struct.pack(">I4s", 8 + len(boxes), b"jp2h") + boxes
    path.write_bytes(data[:at] + header + data[at + length :])


def levels_by_pillow(path: Path) -> list[np.ndarray]:
    """A JPEG 2000 file in full, and at the coarser resolutions of its wavelets."""
    levels = []
    for reduction in range(3):
        with Image.open(path) as image:
            image.reduce = reduction
            levels.append(np.asarray(image))
    return levels


def write_ome_zarr(path: Path, pixels: np.ndarray) -> None:
    levels = levels_of(pixels)
    group = zarr.create_group(path, zarr_format=2)
    for index, level in enumerate(levels):
        group.create_array(str(index), data=np.moveaxis(level, -1, 0), chunks=(3, TILE, TILE))
    axes = [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "nanometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    scales = [[1, MPP.y * 1000 * 2**index, MPP.x * 2**index] for index in range(len(levels))]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": axes,
            "datasets": [
                {"path": str(index), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
                for index, scale in enumerate(scales)
            ],
        }
    ]
    channels = [{"color": colour} for colour in ("FF0000", "00FF00", "0000FF")]
    group.attrs["omero"] = {"channels": channels, "rdefs": {"model": "color"}}


def damage_tiff(path: Path) -> None:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        index = BAD[1] * -(-WIDTH // TILE) + BAD[0]
        overwrite(path, page.dataoffsets[index], page.databytecounts[index])


def damage_jpeg_2000(path: Path) -> None:
    data, at = path.read_bytes(), 0
    index = BAD[1] * -(-WIDTH // TILE) + BAD[0]
    for _ in range(index + 1):  # tiles are stored one after the other, each with its number
        at = data.index(b"\xff\x90\x00\x0a", at + 1)
    assert int.from_bytes(data[at + 4 : at + 6], "big") == index
    start = data.index(b"\xff\x93", at) + 2
    overwrite(path, start, at + int.from_bytes(data[at + 6 : at + 10], "big") - start)


def damage_ome_zarr(path: Path) -> None:
    chunk = path / "0" / f"0.{BAD[1]}.{BAD[0]}"
    overwrite(chunk, 0, chunk.stat().st_size)


def overwrite(path: Path, offset: int, length: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset : offset + length] = b"\xff" * length
    path.write_bytes(data)


@dataclass(frozen=True)
class Format:
    """A way to store the picture; its coarser levels are block means, or what `levels` reads from the file."""

    name: str
    write: Callable[[Path, np.ndarray], None]
    damage: Callable[[Path], None]
    vendor: str
    reader: str
    source: str = "metadata"
    levels: Callable[[Path], list[np.ndarray]] | None = None
    head: str = "."  # the file that says what the slide is


FORMATS = [
    Format("slide.tif", write_generic, damage_tiff, "generic-tiff", "openslide", "TIFF resolution"),
    Format("slide.tif", write_ome, damage_tiff, "ome-tiff", "tifffile"),
    Format(
        "slide.jp2",
        write_jpeg_2000,
        damage_jpeg_2000,
        "jpeg-2000",
        "tiatoolbox",
        levels=levels_by_pillow,
    ),
    Format("slide.ome.zarr", write_ome_zarr, damage_ome_zarr, "ome-zarr", "tiatoolbox", head=".zattrs"),
]


@pytest.fixture(scope="module", params=FORMATS, ids=lambda form: form.vendor)
def stored(request, tmp_path_factory) -> tuple[Path, Format, np.ndarray]:
    if request.param.reader == "tiatoolbox":
        pytest.importorskip("tiatoolbox")
    pixels = picture()
    path = tmp_path_factory.mktemp(request.param.vendor) / request.param.name
    request.param.write(path, pixels)
    return path, request.param, pixels


@pytest.fixture(scope="module")
def levels(stored) -> list[np.ndarray]:
    path, form, pixels = stored
    return form.levels(path) if form.levels else levels_of(pixels)


@pytest.fixture
def slide(stored):
    with open_slide(stored[0]) as opened:
        yield opened


def copied(stored, folder: Path) -> Path:
    path = folder / stored[0].name
    copy = shutil.copytree if stored[0].is_dir() else shutil.copyfile
    copy(stored[0], path)
    return path


@pytest.fixture
def damaged(stored, tmp_path) -> Path:
    """The same slide with one stored tile of level 0 overwritten."""
    path = copied(stored, tmp_path)
    stored[1].damage(path)
    return path


def test_information(stored, slide):
    path, form, _ = stored
    info = slide.info
    assert info.path == path
    assert info.files == (tuple(sorted(filter(Path.is_file, path.rglob("*")))) or (path,))
    assert (info.vendor, info.reader, info.mpp_source) == (form.vendor, form.reader, form.source)
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
def test_a_stored_level_is_taken_as_it_is(levels, slide, factor):
    region = slide.read(Box(40, 80, 400, 240), slide.info.known_mpp.scaled(factor, factor))
    expected = levels[factor // 2][80 // factor : 320 // factor, 40 // factor : 440 // factor]
    np.testing.assert_array_equal(region.rgb, expected)


def test_isotropic_pixels_of_an_anisotropic_slide(levels, slide):
    region = slide.read(Box(8, 16, 400, 320), Mpp(1.0, 1.0))
    expected = Image.fromarray(levels[1][8:168, 4:204]).reduce((1, 2))
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


def test_overview_covers_the_plane(levels, slide):
    overview = read_overview(slide, 4.0)
    assert overview.px_l0 == (8, 16)
    assert overview.mpp.x == pytest.approx(4.0)
    assert overview.mpp.y == pytest.approx(4.0)
    assert overview.rgb.shape == (32, 88, 3)  # rounded up: 500 / 16 and 700 / 8
    assert not overview.unreadable.any()
    expected = Image.fromarray(levels[2][:124, :174]).reduce((2, 4))
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


def test_a_file_that_is_cut_while_it_is_read_is_no_damage(stored, damaged):
    """What decoders do not tell apart: the same reads lose a tile as long as the file has its length."""
    head = damaged if damaged.is_file() else damaged / "0" / "0.0.0"
    whole = head.read_bytes()
    with open_slide(damaged) as slide:
        everything = Box(0, 0, WIDTH, HEIGHT), slide.info.known_mpp
        head.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ReadError, match=head.name.replace(".", r"\.")):
            slide.read(*everything)
        head.write_bytes(whole)
        assert slide.read(*everything).unreadable == (Box(BAD[0] * TILE, BAD[1] * TILE, TILE, TILE),)


def test_a_file_that_is_gone_while_it_is_read_is_no_damage(stored, damaged):
    if damaged.is_dir():
        pytest.skip("a chunk that is not there is white by the format")
    with open_slide(damaged) as slide:
        damaged.unlink()
        with pytest.raises(ReadError, match="No such file"):
            slide.read(Box(0, 0, WIDTH, HEIGHT), slide.info.known_mpp)


def test_overview_marks_what_it_touches(damaged):
    with open_slide(damaged, Mpp(0.5, 0.5)) as slide:
        overview = read_overview(slide, 0.5 * 1.3)  # level 0 is read, at its own size
    assert overview.px_l0 == (1, 1)
    assert np.argwhere(overview.unreadable).min(0).tolist() == [TILE, 2 * TILE]
    assert overview.unreadable.sum() == TILE * TILE


def test_a_given_pixel_size_replaces_that_of_the_file(stored):
    with open_slide(stored[0], Mpp(1.0, 1.0)) as slide:
        assert slide.info.mpp == Mpp(1.0, 1.0)
        assert slide.info.mpp_source == "--mpp, while the slide states 0.5 x 0.25"
        assert slide.read(Box(0, 0, 100, 60), Mpp(2.0, 2.0)).rgb.shape == (30, 50, 3)
    with pytest.raises(PixelSizeError, match="--mpp 352"):
        open_slide(stored[0], Mpp(352, 352))


def test_a_cut_file_fails_with_a_slide_error(stored, tmp_path):
    path = copied(stored, tmp_path)
    head = path / stored[1].head
    head.write_bytes(head.read_bytes()[:500])
    with pytest.raises(SlideError, match=stored[1].name) as caught:
        open_slide(path, MPP)
    assert caught.value.exit_code == 1


def test_fingerprint_is_of_the_content(stored, damaged):
    with open_slide(stored[0]) as slide, open_slide(damaged) as other:
        assert slide_fingerprint(slide.info.files) != slide_fingerprint(other.info.files)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> tuple[np.ndarray, PhantomTruth]:
    path = tmp_path_factory.mktemp("phantom") / "phantom.tif"
    truth = write_phantom(path, np.random.default_rng(7), side_mm=0.7, mpp=MPP)
    return tifffile.imread(path), truth


def test_a_run_measures_the_phantom_in_each_format(stored, phantom, tmp_path):
    pixels, truth = phantom
    path = tmp_path / stored[1].name
    stored[1].write(path, pixels)
    settings = load_settings(overrides=PHANTOM)
    result = analyse(path, tmp_path / "out", settings).result
    assert result["percent_viable"] == pytest.approx(truth.percent_viable, abs=2)
    assert result["ledger"]["mm2"]["viable_by_class"] == pytest.approx(truth.area_mm2["viable"], rel=0.05)
