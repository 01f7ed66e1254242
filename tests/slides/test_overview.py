from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import SlideInfo
from wsi_necrosis.slides.overview import PIECE_PX, read_overview, read_picture
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.slides.stored_levels import Region


class Flat:
    """A slide of one level, without pixels, that notes how it is read."""

    def __init__(self, width: int, height: int) -> None:
        path = Path("flat.tif")
        self.info = SlideInfo(
            path=path,
            files=(path,),
            vendor="none",
            reader="none",
            size_l0=(width, height),
            plane=Box(3, 5, width - 3, height - 5),
            bounds_l0=(3, 5),
            downsamples=(1.0,),
            levels=((width, height),),
            mpp=Mpp(0.25, 0.25),
            mpp_source="metadata",
            objective=None,
        )
        self.boxes: list[Box] = []

    def read(self, box: Box, mpp: Mpp, needed: Sequence[Box] | None = None) -> Region:
        self.boxes.append(box)
        shape = round(box.height_l0 * 0.25 / mpp.y), round(box.width_l0 * 0.25 / mpp.x)
        return Region(np.full((*shape, 3), len(self.boxes) % 250, np.uint8), ())


def test_an_overview_is_read_in_small_pieces_that_partition_the_plane() -> None:
    slide = Flat(40_000, 9_000)
    overview = read_overview(slide, 4.0)
    assert overview.px_l0 == (16, 16)
    assert overview.rgb.shape == (563, 2500, 3)
    assert max(max(box.width_l0, box.height_l0) for box in slide.boxes) <= PIECE_PX
    assert sum(box.area_l0 for box in slide.boxes) == 563 * 2500 * 16 * 16
    assert all((box.x_l0 - 3) % 16 == 0 and (box.y_l0 - 5) % 16 == 0 for box in slide.boxes)
    assert (overview.rgb > 0).all()


def test_a_picture_is_read_finer_only_where_it_would_be_enlarged(tmp_path: Path) -> None:
    write_phantom(tmp_path / "p.tiff", side_mm=1.0)  # 2,000 pixels of 0.5 um
    with open_slide(tmp_path / "p.tiff") as slide:
        overview = read_overview(slide, 4.0)
        assert read_picture(slide, overview, 250) is overview
        for side_px, um in ((251, 3.5), (600, 1.5), (2000, 0.5), (5000, 0.5)):
            picture = read_picture(slide, overview, side_px)
            assert (picture.mpp.x, picture.mpp.y) == pytest.approx((um, um))
            assert max(picture.rgb.shape) >= min(side_px, 2000)
