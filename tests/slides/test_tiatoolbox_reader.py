from __future__ import annotations

import io
import json
import logging
import struct
import sys

import numpy as np
import pytest
import zarr
from PIL import Image

from wsi_necrosis.errors import MissingExtraError, SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.slides.tiatoolbox_reader import is_jpeg_2000, is_zarr

SPACE = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
COLOURS = ("FF0000", "00FF00", "0000FF")


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (300, 420, 3), np.uint8)


@pytest.fixture
def needs_tiatoolbox():
    pytest.importorskip("tiatoolbox")


def write_jpeg_2000(path, pixels, xml="", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", **options)
    data = stream.getvalue()
    at = data.index(b"jp2c") - 4
    box = struct.pack(">I4s", 8 + len(xml), b"xml ") + xml.encode() if xml else b""
    path.write_bytes(data[:at] + box + data[at:])
    return path


def write_ome_zarr(path, pixels, axes="yxc", units=(None, None), transforms=(), colours=COLOURS, **other):
    """Pixels come with axes (y, x, c) and are stored in the order of `axes`, others of length 1."""
    named = {"y": SPACE[0], "x": SPACE[1]} | {name: {"name": name, "type": "other"} for name in "tzc"}
    for name, unit in zip("yx", units, strict=True):
        named[name] = named[name] | ({"unit": unit} if unit else {})
    kept = [axis for axis in axes if axis in "yxc"]
    stored = np.transpose(pixels, ["yxc".index(axis) for axis in kept])
    stored = np.expand_dims(stored, [at for at, axis in enumerate(axes) if axis not in "yxc"])
    group = zarr.create_group(path, zarr_format=2)
    group.create_array("0", data=stored, chunks=[min(length, 128) for length in stored.shape])
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [named[axis] for axis in axes],
            "datasets": [{"path": "0", "coordinateTransformations": list(transforms)}],
            **other,
        }
    ]
    channels = [{"color": colour} if colour else {} for colour in colours]
    group.attrs["omero"] = {"channels": channels, "rdefs": {"model": "color"}}
    return path


def test_recognised_by_content_not_by_name(tmp_path, rgb):
    assert is_jpeg_2000(write_jpeg_2000(tmp_path / "a.tif", rgb))
    text = tmp_path / "b.jp2"
    text.write_text("text")
    assert not is_jpeg_2000(text)
    assert not is_jpeg_2000(tmp_path / "nothing.jp2")
    zarr.create_group(tmp_path / "two", zarr_format=2)
    zarr.create_group(tmp_path / "three", zarr_format=3)
    assert is_zarr(tmp_path / "two")
    assert is_zarr(tmp_path / "three")
    assert not is_zarr(tmp_path)


@pytest.mark.usefixtures("needs_tiatoolbox")
class TestJpeg2000:
    def test_a_picture_without_tiles_reads_alike_in_parts(self, tmp_path, rgb):
        path = write_jpeg_2000(
            tmp_path / "a.jp2", rgb, irreversible=True, quality_layers=[5], num_resolutions=4
        )
        with open_slide(path, Mpp(0.5, 0.5)) as slide:
            whole = slide.read(slide.info.plane, Mpp(0.5, 0.5)).rgb
            part = slide.read(Box(101, 33, 200, 190), Mpp(0.5, 0.5)).rgb
            assert slide.info.levels == ((420, 300), (210, 150), (105, 75), (53, 38))
        with Image.open(path) as image:
            np.testing.assert_array_equal(whole, np.asarray(image))
        np.testing.assert_array_equal(part, whole[33:223, 101:301])

    def test_small_tiles_are_read_together(self, tmp_path, rgb):
        path = write_jpeg_2000(tmp_path / "a.jp2", rgb, tile_size=(64, 64), num_resolutions=2)
        with open_slide(path, Mpp(0.5, 0.5)) as slide:
            region = slide.read(Box(0, 0, 64, 64), Mpp(0.5, 0.5))
        assert region.decoded_l0 == 128 * 128

    @pytest.mark.parametrize(
        ("text", "mpp", "objective"),
        [
            ("Omnyx|AppMag = 40|MPP = 0.2742", Mpp(0.2742, 0.2742), 40),
            ("AppMag = 20", None, 20),  # no pixel size is guessed from it
            ("none", None, None),
        ],
    )
    def test_a_description_states_pixel_size_and_objective(self, tmp_path, rgb, text, mpp, objective):
        xml = f"<image><description>{text}</description></image>"
        with open_slide(write_jpeg_2000(tmp_path / "a.jp2", rgb, xml)) as slide:
            assert (slide.info.mpp, slide.info.objective) == (mpp, objective)

    @pytest.mark.parametrize("mode", ["L", "RGBA", "YCbCr"])
    def test_what_is_not_8_bit_rgb_is_refused(self, tmp_path, rgb, mode):
        path = write_jpeg_2000(tmp_path / "a.jp2", rgb)
        with Image.open(path) as image:
            image.convert(mode).save(path, "JPEG2000")
        with pytest.raises(SlideError, match=r"a\.jp2.*8-bit RGB"):
            open_slide(path)

    def test_a_file_whose_end_is_missing_says_so(self, tmp_path, rgb):
        path = write_jpeg_2000(tmp_path / "a.jp2", rgb)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(SlideError, match=r"a\.jp2.*end is missing"):
            open_slide(path)

    def test_a_picture_off_its_tiles_is_refused(self, tmp_path, rgb):
        path = write_jpeg_2000(
            tmp_path / "a.jp2", rgb, tile_size=(128, 128), offset=(8, 8), tile_offset=(0, 0)
        )
        with pytest.raises(SlideError, match=r"a\.jp2.*corner of a tile"):
            open_slide(path)


@pytest.mark.usefixtures("needs_tiatoolbox")
class TestOmeZarr:
    @pytest.mark.parametrize("axes", ["yxc", "cyx", "tczyx", "xyc"])
    def test_axes_in_any_order(self, tmp_path, rgb, axes):
        with open_slide(write_ome_zarr(tmp_path / "a", rgb, axes), Mpp(0.5, 0.5)) as slide:
            np.testing.assert_array_equal(slide.read(slide.info.plane, Mpp(0.5, 0.5)).rgb, rgb)

    @pytest.mark.parametrize(
        ("units", "scales", "mpp"),
        [
            (("micrometer", "micrometer"), ([0.25, 0.5, 1],), Mpp(0.5, 0.25)),
            (("nanometer", "millimeter"), ([250, 0.0005, 1],), Mpp(0.5, 0.25)),
            (("micrometer", "micrometer"), (), None),
            (("micrometer", None), ([0.25, 0.5, 1],), None),
            (("foot", "foot"), ([1, 1, 1],), None),
        ],
    )
    def test_pixel_size_has_its_unit(self, tmp_path, rgb, units, scales, mpp):
        transforms = [{"type": "scale", "scale": scale} for scale in scales]
        path = write_ome_zarr(tmp_path / "a", rgb, units=units, transforms=transforms)
        with open_slide(path) as slide:
            assert slide.info.mpp == (mpp and Mpp(pytest.approx(mpp.x), pytest.approx(mpp.y)))
            assert slide.info.mpp_source == ("metadata" if mpp else "unknown")

    def test_a_scale_of_all_levels_counts_too(self, tmp_path, rgb):
        scale = [{"type": "scale", "scale": [0.5, 0.5, 1]}]
        units = ("micrometer", "micrometer")
        path = write_ome_zarr(
            tmp_path / "a", rgb, units=units, transforms=scale, coordinateTransformations=scale
        )
        with open_slide(path) as slide:
            assert slide.info.mpp == Mpp(0.25, 0.25)

    def test_channels_without_colours_are_taken(self, tmp_path, rgb):
        with open_slide(write_ome_zarr(tmp_path / "a", rgb, colours=(None, None, None))) as slide:
            assert slide.info.size_l0 == (420, 300)

    @pytest.mark.parametrize(
        ("pixels", "colours"),
        [
            (np.zeros((100, 120, 3), np.uint16), COLOURS),
            (np.zeros((100, 120, 1), np.uint8), COLOURS[:1]),
            (np.zeros((100, 120, 5), np.uint8), [None] * 5),
            (np.zeros((100, 120, 3), np.uint8), ("0000FF", "00FF00", "FF0000")),  # fluorescence
        ],
    )
    def test_what_is_not_8_bit_rgb_is_refused(self, tmp_path, pixels, colours):
        with pytest.raises(SlideError, match=r"a\.zarr.*8-bit RGB"):
            open_slide(write_ome_zarr(tmp_path / "a.zarr", pixels, colours=colours))

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda attributes: attributes.pop("omero"),
            lambda attributes: attributes.pop("multiscales"),
            lambda attributes: attributes["multiscales"].clear(),
            lambda attributes: attributes["multiscales"][0].update(version="0.3"),
            lambda attributes: attributes["multiscales"][0].pop("axes"),
            lambda attributes: attributes["multiscales"][0]["datasets"][0].update(path="s0"),
            lambda attributes: attributes["multiscales"][0].update(datasets=[]),
            lambda attributes: attributes.update(multiscales="text"),
        ],
    )
    def test_metadata_that_tiatoolbox_does_not_take_are_refused(self, tmp_path, rgb, spoil):
        path = write_ome_zarr(tmp_path / "a.zarr", rgb)
        attributes = json.loads((path / ".zattrs").read_text())
        spoil(attributes)
        (path / ".zattrs").write_text(json.dumps(attributes))
        with pytest.raises(SlideError, match=r"a\.zarr"):
            open_slide(path)

    def test_version_5_is_named(self, tmp_path):
        group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
        group.attrs["ome"] = {"version": "0.5", "multiscales": [{}]}
        with pytest.raises(SlideError, match=r"a\.zarr.*OME-Zarr 0\.4"):
            open_slide(tmp_path / "a.zarr")

    def test_warnings_of_tiatoolbox_are_not_logged(self, tmp_path, rgb, caplog):
        caplog.set_level(logging.INFO)
        with open_slide(write_ome_zarr(tmp_path / "a", rgb)):
            assert not [record for record in caplog.records if record.name == "root"]


@pytest.mark.parametrize("write", [write_jpeg_2000, write_ome_zarr])
def test_without_the_extra_the_message_names_it(tmp_path, rgb, monkeypatch, write):
    for name in [name for name in sys.modules if name.split(".")[0] == "tiatoolbox"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tiatoolbox", None)
    monkeypatch.setitem(sys.modules, "tiatoolbox.wsicore", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wsi-necrosis\[tiatoolbox\]'"):
        open_slide(write(tmp_path / "a", rgb))
