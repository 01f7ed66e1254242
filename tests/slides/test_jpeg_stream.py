from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from tests.helpers.jpeg_slides import JpegKind, write_slide
from tests.helpers.odd_slides import JPEG, OME, set_tag, textured
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.slides.jpeg_stream import frame_of
from wsi_necrosis.slides.slide import open_slide

TOP = textured(256, 256)
PHOTOMETRIC = {"RGB": 2, "YCbCr": 6}


def stream(colour: str, sampling: str = "444") -> bytes:
    return imagecodecs.jpeg8_encode(
        TOP, level=90, colorspace="RGB", outcolorspace=colour, subsampling=sampling
    )


def without_adobe(data: bytes) -> bytes:
    at = data.find(b"\xff\xee\x00\x0eAdobe")
    return data if at < 0 else data[:at] + data[at + 16 :]


def test_subsampled_components_are_never_rgb() -> None:
    assert frame_of(stream("YCbCr", "420")).proven_colour == "YCbCr"
    assert frame_of(stream("YCbCr", "422")).proven_colour == "YCbCr"


def test_names_of_components_and_adobes_segment_prove_rgb() -> None:
    data = stream("RGB")
    assert frame_of(data).proven_colour == "RGB"
    assert frame_of(without_adobe(data)).ids == (82, 71, 66)
    assert frame_of(without_adobe(data)).proven_colour == "RGB"


def test_nothing_is_proven_by_equal_components_alone() -> None:
    data = bytearray(without_adobe(stream("RGB")))
    frame = frame_of(bytes(data))
    for component in range(3):
        data[frame.at + 10 + 3 * component] = component
    assert frame_of(bytes(data)).proven_colour is None


@pytest.mark.parametrize("vendor", ["generic-tiff", "aperio"])
@pytest.mark.parametrize(("colour", "sampling"), [("YCbCr", "420"), ("YCbCr", "422"), ("RGB", "444")])
def test_tiles_that_prove_the_tag_wrong_are_believed(
    tmp_path: Path, vendor: str, colour: str, sampling: str
) -> None:
    kind = JpegKind(colour=colour, sampling=sampling, vendor=vendor, factors=(1,))
    true, lying = (write_slide(tmp_path / name, TOP, kind) for name in ("true.svs", "lying.svs"))
    set_tag(lying, "PhotometricInterpretation", PHOTOMETRIC["RGB" if colour == "YCbCr" else "YCbCr"])
    with open_slide(true) as one, open_slide(lying) as other:
        assert one.info.warnings == ()
        assert [each.code for each in other.info.warnings] == ["colours_contradict"]
        mpp = one.info.mpp
        np.testing.assert_array_equal(
            one.read(one.info.plane, mpp).rgb, other.read(other.info.plane, mpp).rgb
        )


def test_the_same_holds_in_an_ome_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, TOP, ome=True, **(JPEG | {"metadata": OME}))
    with open_slide(path) as slide:
        true = slide.read(slide.info.plane, Mpp(0.5, 0.5)).rgb
    set_tag(path, "PhotometricInterpretation", 2)
    with open_slide(path) as slide:
        assert [each.code for each in slide.info.warnings] == ["colours_contradict"]
        np.testing.assert_array_equal(slide.read(slide.info.plane, Mpp(0.5, 0.5)).rgb, true)
