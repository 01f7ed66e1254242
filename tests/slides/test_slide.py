"""Real slides; the contract of every reader is in contracts/test_readers.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsi_necrosis.errors import PixelSizeError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import Slide, open_slide

pytestmark = pytest.mark.real


@pytest.fixture
def slides(data_dir) -> Path:
    return data_dir / "slides"


@pytest.mark.parametrize(
    ("name", "vendor", "size", "levels", "pixels"),
    [
        ("CMU-1-Small-Region.svs", "aperio", (2220, 2967), (1,), (0.499, "metadata", 20)),
        ("tcga-cr-7395-01a-01-ts1.svs", "aperio", (4443, 3567), (1, 2), (None, "unknown", None)),
        (
            "test3-DAPI-2-387.ndpi",
            "hamamatsu",
            (3968, 4864),
            (1, 2, 4, 8, 16, 32, 64),
            (0.22818, "metadata", 40),
        ),
        (
            "test3-TRITC-2-560.ndpi",
            "hamamatsu",
            (3968, 4864),
            (1, 2, 4, 8, 16, 32, 64),
            (0.22818, "metadata", 40),
        ),
        (
            "openslide_boxes.tiff",
            "generic-tiff",
            (300, 250),
            (1, 2, 4, 8),
            (None, "implausible TIFF resolution (352.8)", None),
        ),
        ("openslide_small.svs", "aperio", (16, 16), (1,), (0.499, "metadata", 20)),
        ("openslide_boxes_0.dcm", "dicom", (16, 16), (1,), (0.499, "metadata", 20)),
    ],
)
def test_information(slides, name, vendor, size, levels, pixels):
    mpp, source, objective = pixels
    with open_slide(slides / name) as slide:
        info = slide.info
    assert (info.vendor, info.size_l0, info.downsamples) == (vendor, size, levels)
    fast = {"CMU-1-Small-Region.svs", "openslide_small.svs"}  # the others are no JPEG-tiled TIFF
    assert info.reader == ("jpeg-tiff" if name in fast else "openslide")
    assert (info.mpp and info.mpp.x) == (mpp and pytest.approx(mpp, rel=1e-4))
    assert (info.mpp_source, info.objective) == (source, objective)
    assert len(info.levels) == len(levels)


@pytest.mark.parametrize("name", ["tcga-cr-7395-01a-01-ts1.svs", "openslide_boxes.tiff"])
def test_without_a_usable_pixel_size_reads_ask_for_one(slides, name):
    with open_slide(slides / name) as slide, pytest.raises(PixelSizeError, match="--mpp"):
        read_overview(slide, 4.0)
    with open_slide(slides / name, Mpp(0.5, 0.5)) as slide:
        assert read_overview(slide, 4.0).mpp == Mpp(4.0, 4.0)


def test_aperio_agrees_with_another_decoder(slides):
    """Level 1's sizes give 2.0005, so that OpenSlide interpolates it; level 0 must be exact."""
    with tifffile.TiffFile(slides / "tcga-cr-7395-01a-01-ts1.svs") as tiff:
        finest, half = tiff.pages[0].asarray(), tiff.pages[2].asarray()
    with open_slide(slides / "tcga-cr-7395-01a-01-ts1.svs", Mpp(0.5, 0.5)) as slide:
        region = slide.read(Box(2000, 1500, 1000, 1000), Mpp(0.5, 0.5))
        coarse = slide.read(Box(2000, 1500, 1000, 1000), Mpp(1.0, 1.0))
    np.testing.assert_array_equal(region.rgb, finest[1500:2500, 2000:3000])
    assert coarse.rgb.shape == (500, 500, 3)
    apart = {
        (y, x): np.abs(coarse.rgb - half[750 + y : 1250 + y, 1000 + x : 1500 + x].astype(float)).mean()
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    }
    assert apart[0, 0] < 6
    assert min(apart, key=apart.__getitem__) == (0, 0)  # not shifted by as much as half a pixel


def test_ndpi_between_levels_agrees_with_level_0(slides):
    """0.5 um lies between levels of 0.456 and 0.913 um; the mean over an area does not depend on them."""
    with open_slide(slides / "test3-TRITC-2-560.ndpi") as slide:
        own = slide.info.known_mpp
        finest = slide.read(Box(1000, 1000, 1000, 1000), own)
        working = slide.read(Box(1000, 1000, 1000, 1000), Mpp(0.5, 0.5))
    assert working.rgb.shape == (456, 456, 3)
    whole = np.asarray(Image.fromarray(finest.rgb).resize((456, 456), Image.Resampling.BOX))
    assert abs(working.rgb.mean() - whole.mean()) < 0.5


def damage(source: Path, target: Path, tile: int) -> Path:
    data = bytearray(source.read_bytes())
    with tifffile.TiffFile(source) as tiff:
        offset, length = tiff.pages[0].dataoffsets[tile], tiff.pages[0].databytecounts[tile]
    data[offset : offset + length] = bytes(length)
    target.write_bytes(data)
    return target


def test_one_damaged_tile_of_a_real_slide(slides, tmp_path):
    source = slides / "CMU-1-Small-Region.svs"  # 10 tiles of 240 px across
    path = damage(source, tmp_path / source.name, tile=34)
    box, mpp = Box(0, 0, 2220, 2967), Mpp(0.499, 0.499)
    with open_slide(source) as whole, open_slide(path) as slide:
        expected = whole.read(box, mpp).rgb.copy()
        region = slide.read(box, mpp)
        elsewhere = slide.read(Box(0, 0, 2220, 720), mpp)
        overview = read_overview(slide, 4.0)
    assert region.unreadable == (Box(960, 720, 240, 240),)
    expected[720:960, 960:1200] = 255
    np.testing.assert_array_equal(region.rgb, expected)
    assert elsewhere.unreadable == ()
    marked = np.zeros_like(overview.unreadable)
    marked[90:120, 120:150] = True  # 8 level-0 pixels each
    np.testing.assert_array_equal(overview.unreadable, marked)


def test_an_opened_slide_keeps_the_protocol_of_slides(slides):
    with open_slide(slides / "openslide_small.svs") as slide:
        opened: Slide = slide
        assert opened.read(Box(0, 0, 16, 16), Mpp(0.998, 0.998)).rgb.shape == (8, 8, 3)
