from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.helpers.odd_slides import CENTIMETRE, textured
from wsi_necrosis.errors import PixelSizeError, SlideError
from wsi_necrosis.slides.slide import open_slide

TOP = textured(150, 200)


@pytest.mark.parametrize("name", ["tile.png", "TILE.JPG", "tile without suffix"])
def test_a_plain_picture_is_a_slide_of_one_level(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(TOP).save(path, "JPEG" if "JPG" in name else "PNG")
    expected = np.asarray(Image.open(path).convert("RGB"))
    with open_slide(path, 0.5) as slide:
        assert (slide.info.vendor, slide.info.reader, slide.info.levels) == (
            "picture",
            "pillow",
            ((200, 150),),
        )
        np.testing.assert_array_equal(slide.read(slide.info.plane, slide.info.mpp).rgb, expected)


def test_it_states_no_pixel_size(tmp_path: Path) -> None:
    Image.fromarray(TOP).save(tmp_path / "a.png", dpi=(50_800, 50_800))
    with open_slide(tmp_path / "a.png") as slide, pytest.raises(PixelSizeError, match="give --mpp"):
        _ = slide.info.known_mpp


def test_what_is_no_rgb_is_refused(tmp_path: Path) -> None:
    Image.fromarray(TOP[..., 0]).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match="mode L"):
        open_slide(tmp_path / "a.png", 0.5)


@pytest.mark.parametrize(
    "options",
    [
        {"rowsperstrip": 16},
        {"planarconfig": "separate", "tile": (64, 64)},
        {"planarconfig": "separate", "rowsperstrip": 32},
        {"tile": (64, 64), "compression": "webp", "compressionargs": {"lossless": True}},
        {"tile": (64, 64), "compression": "lerc"},
        {"rowsperstrip": 50, "compression": "lzw"},
    ],
)
def test_tiffs_that_openslide_does_not_open_are_read(tmp_path: Path, options: dict[str, object]) -> None:
    pixels = np.moveaxis(TOP, -1, 0).copy() if "planarconfig" in options else TOP
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, **options, **CENTIMETRE)
    with open_slide(path) as slide:
        assert slide.info.mpp.x == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.read(slide.info.plane, slide.info.mpp).rgb, TOP)
