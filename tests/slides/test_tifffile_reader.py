from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.slides.tiff_check import check_tiff


def write(path, pixels, **metadata):
    photometric = "rgb" if pixels.shape[-1] in {3, 4} else "minisblack"
    tifffile.imwrite(path, pixels, ome=True, tile=(64, 64), photometric=photometric, metadata=metadata)
    return path


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)


def test_recognised_by_content_not_by_name(tmp_path, rgb):
    assert check_tiff(write(tmp_path / "a.tif", rgb, axes="YXS")).is_ome
    plain = tmp_path / "b.ome.tif"
    tifffile.imwrite(plain, rgb, ome=False, metadata=None, tile=(64, 64), photometric="rgb")
    assert not check_tiff(plain).is_ome
    text = tmp_path / "c.ome.tif"
    text.write_text("text")
    assert check_tiff(text) is None


@pytest.mark.parametrize(
    ("metadata", "mpp"),
    [
        ({"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}, Mpp(0.5, 0.25)),
        (
            {
                "PhysicalSizeX": 250,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 0.0005,
                "PhysicalSizeYUnit": "mm",
            },
            Mpp(0.25, 0.5),
        ),
        ({"PhysicalSizeX": 0.5}, None),
        (
            {
                "PhysicalSizeX": 1,
                "PhysicalSizeXUnit": "pixel",
                "PhysicalSizeY": 1,
                "PhysicalSizeYUnit": "pixel",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_pixel_size_has_its_unit(tmp_path, rgb, metadata, mpp):
    with open_slide(write(tmp_path / "a.ome.tif", rgb, axes="YXS", **metadata)) as slide:
        assert slide.info.mpp == mpp
        assert slide.info.mpp_source == ("metadata" if mpp else "unknown")
        assert slide.info.objective is None  # never guessed from the pixel size


def test_objective_is_the_one_that_the_image_refers_to(tmp_path, rgb):
    path = write(tmp_path / "a.ome.tif", rgb, axes="YXS", PhysicalSizeX=0.5, PhysicalSizeY=0.5)
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    instrument = (
        '<Instrument ID="Instrument:0"><Objective ID="Objective:0" NominalMagnification="4"/>'
        '<Objective ID="Objective:1" NominalMagnification="20"/></Instrument><Image'
    )
    xml = xml.replace("<Image", instrument, 1).replace(
        "<Pixels", '<ObjectiveSettings ID="Objective:1"/><Pixels', 1
    )
    tifffile.tiffcomment(path, xml.encode())
    with open_slide(path) as slide:
        assert slide.info.objective == 20


def test_transparent_pixels_are_white(tmp_path, rgb):
    rgba = np.concatenate([rgb, np.zeros((*rgb.shape[:2], 1), np.uint8)], -1)
    rgba[:50, :, 3] = 255
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path,
        rgba,
        ome=True,
        tile=(64, 64),
        photometric="rgb",
        extrasamples=("unassalpha",),
        metadata={"axes": "YXS"},
    )
    with open_slide(path, Mpp(0.5, 0.5)) as slide:
        region = slide.read(slide.info.plane, Mpp(0.5, 0.5))
    np.testing.assert_array_equal(region.rgb[:50], rgb[:50])
    assert (region.rgb[50:] == 255).all()


@pytest.mark.parametrize(
    ("pixels", "axes"),
    [
        (np.zeros((7, 100, 120), np.uint8), "CYX"),
        (np.zeros((100, 120, 3), np.uint16), "YXS"),
        (np.zeros((100, 120), np.uint8), "YX"),
    ],
)
def test_what_is_not_8_bit_rgb_is_refused(tmp_path, pixels, axes):
    with pytest.raises(SlideError, match=r"a\.ome\.tif"):
        open_slide(write(tmp_path / "a.ome.tif", pixels, axes=axes))


def test_planes_apart_read_as_planes_together(tmp_path, rgb):
    path = tmp_path / "a.ome.tif"
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    tifffile.imwrite(
        path,
        planes,
        ome=True,
        tile=(64, 64),
        photometric="rgb",
        planarconfig="separate",
        metadata={"axes": "SYX"},
    )
    with open_slide(path, Mpp(0.5, 0.5)) as slide:
        assert slide.info.size_l0 == (120, 100)
        np.testing.assert_array_equal(slide.read(slide.info.plane, Mpp(0.5, 0.5)).rgb, rgb)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are listed by Linux alone")
def test_another_file_that_holds_the_pixels_is_opened_and_let_go(tmp_path, rgb):
    path, other = write(tmp_path / "a.ome.tif", rgb, axes="YXS"), tmp_path / "b.ome.tif"
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    other.write_bytes(path.read_bytes())
    uuid = re.search('UUID="([^"]+)"', xml)[1]
    elsewhere = "urn:uuid:00000000-0000-0000-0000-000000000007"
    named = f'PlaneCount="1"><UUID FileName="{other.name}">{elsewhere}</UUID></TiffData>'
    tifffile.tiffcomment(path, xml.replace('PlaneCount="1"/>', named).encode())
    tifffile.tiffcomment(other, xml.replace(uuid, elsewhere).encode())
    with open_slide(path, Mpp(0.5, 0.5)) as slide:
        assert slide.info.files == (path, other)
        np.testing.assert_array_equal(slide.read(slide.info.plane, Mpp(0.5, 0.5)).rgb, rgb)
        assert other in open_files()
    assert not {path, other} & open_files()


def open_files() -> set[Path]:
    return {link.resolve() for link in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize(
    "change", [("<Image", "<Immage", 2), ("</Image>", "", 1), ("<Pixels", "<Pixxels", 1)]
)
def test_a_damaged_description_says_so(tmp_path, rgb, change):
    path = write(tmp_path / "a.ome.tif", rgb, axes="YXS")
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    tifffile.tiffcomment(path, xml.replace(*change).encode())
    with pytest.raises(SlideError, match=r"a\.ome\.tif"):
        open_slide(path)
