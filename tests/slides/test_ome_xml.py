from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.helpers.odd_slides import JPEG, OME, smaller, textured
from wsi_necrosis.errors import SlideError, UsageError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.slides.ome_xml import read_ome
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide

TOP = textured(300, 400)
OPTIONS = {"photometric": "rgb", "tile": (64, 64)}


def write_scenes(path: Path, scenes: dict[str, tuple[np.ndarray, dict[str, object]]]) -> Path:
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, (pixels, facts) in scenes.items():
            tiff.write(pixels, **OPTIONS, metadata=OME | facts | {"Name": name})
    return path


def test_scenes_that_are_left_out_are_named_and_can_be_chosen(tmp_path: Path) -> None:
    left, right = TOP[:, :150].copy(), TOP[:, 150:].copy()
    path = write_scenes(tmp_path / "a.ome.tif", {"left": (left, {}), "right": (right, {})})
    with open_slide(path) as slide:
        assert slide.info.size_l0 == (250, 300)
        assert [each.code for each in slide.info.warnings] == ["scenes_left_out"]
        assert "1: left, 150 x 300 px" in slide.info.warnings[0].text
    for scene in (1, "1", "left"):
        with open_slide(path, scene=scene) as slide:
            np.testing.assert_array_equal(slide.read(slide.info.plane, Mpp(0.5, 0.5)).rgb, left)
            assert slide.info.scene == 1
    with pytest.raises(UsageError, match=r"no scene 'middle'; it has 1: left; 2: right"):
        open_slide(path, scene="middle")


@pytest.mark.parametrize("facts", [{"PhysicalSizeX": 8.0, "PhysicalSizeY": 8.0}, {"PhysicalSizeX": 64.0}])
def test_a_macro_or_label_image_needs_no_warning(tmp_path: Path, facts: dict[str, object]) -> None:
    path = write_scenes(tmp_path / "a.ome.tif", {"tissue": (TOP, {}), "macro": (smaller(TOP, 4), facts)})
    with open_slide(path) as slide:
        assert slide.info.warnings == ()
        assert len(slide.info.scenes) == 2


def test_a_slide_of_one_image_has_one_scene(tmp_path: Path) -> None:
    path = write_scenes(tmp_path / "a.ome.tif", {"tissue": (TOP, {})})
    with open_slide(path, scene=1) as slide:
        assert slide.info.scenes == ()
    with pytest.raises(UsageError, match="no scene"):
        open_slide(path, scene=2)


def test_rgb_in_three_channels_is_read_and_other_channels_are_named(tmp_path: Path) -> None:
    planes = np.moveaxis(TOP, -1, 0).copy()
    for name, channels in (("rgb", ["Red", "Green", "Blue"]), ("stains", ["DAPI", "FITC", "Cy5"])):
        tifffile.imwrite(
            tmp_path / f"{name}.ome.tif", planes, ome=True, photometric="minisblack", tile=(64, 64),
            metadata=OME | {"axes": "CYX", "Channel": {"Name": channels}},
        )  # fmt: skip
    with open_slide(tmp_path / "rgb.ome.tif") as slide:
        np.testing.assert_array_equal(slide.read(slide.info.plane, Mpp(0.5, 0.5)).rgb, TOP)
    with pytest.raises(SlideError, match=r"3 channels of grey levels \(DAPI, FITC, Cy5\)"):
        open_slide(tmp_path / "stains.ome.tif")


def described(text: str, folder: Path) -> Path:
    path = folder / "a.ome.tif"
    tifffile.imwrite(path, TOP, **JPEG, description=text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE a [<!ENTITY b "bb">]><OME xmlns="o">&b;</OME>', "declares entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><OME xmlns="o"/>', "declares entities"),
        ("<a>" * 300 + "</a>" * 300, "nested too deeply"),
        ("<OME/>", "names no image"),
        ("<OME><Image><Pixels SizeX='1' SizeY='x'/></Image></OME>", "cannot be read"),
        ("<OME><Image><Pixels SizeX='-1' SizeY='1'/></Image></OME>", "cannot be read"),
        ("<OME><BinaryOnly MetadataFile='s.companion.ome'/></OME>", r"lies in s\.companion\.ome"),
    ],
)
def test_descriptions_from_outside_are_not_trusted(text: str, said: str) -> None:
    with pytest.raises(SlideError, match=said):
        read_ome(Path("a.ome.tif"), text)


@pytest.mark.parametrize("name", ["b.ome.tif", "../b.ome.tif", "/etc/passwd"])
def test_a_file_of_the_image_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    path = write_scenes(tmp_path / "a.ome.tif", {"tissue": (TOP, {})})
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    named = f'PlaneCount="1"><UUID FileName="{name}">urn:uuid:7</UUID></TiffData>'
    tifffile.tiffcomment(path, xml.replace('PlaneCount="1"/>', named).encode())
    with pytest.raises(SlideError, match=f"{name} is not beside it"):
        open_slide(path)


@pytest.mark.parametrize("levels", [1, 2])
def test_tiles_that_are_not_stored_were_not_scanned(tmp_path: Path, levels: int) -> None:
    top = np.full((1024, 1024, 3), 243, np.uint8)
    top[256:768, 256:768] = textured(512, 512)

    def tiles(level: np.ndarray) -> object:
        for row in range(0, len(level), 64):
            for col in range(0, len(level), 64):
                part = level[row : row + 64, col : col + 64]
                yield None if (part == 243).all() and (row or col) else part

    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for at, level in enumerate([top, smaller(top, 4)][:levels]):
            more = {"metadata": OME, "subifds": levels - 1} if at == 0 else {"metadata": None}
            tiff.write(tiles(level), shape=level.shape, dtype=np.uint8, **OPTIONS, **more)
    with open_slide(path) as slide:
        overview = read_overview(slide)
    not_scanned = np.ones((128, 128), bool)
    not_scanned[32:96, 32:96] = not_scanned[:8, :8] = False
    np.testing.assert_array_equal(overview.not_scanned, not_scanned)
    assert (overview.rgb[not_scanned] == 255).all()
