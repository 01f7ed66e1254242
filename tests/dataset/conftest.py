"""A slide without a file, to test bounds and regions that cannot be decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import GivenMpp, SlideInfo
from wsi_necrosis.slides.stored_levels import Region

LOST = Box(20, 10, 3, 3)


@dataclass(frozen=True)
class MadeUpSlide:
    """Red is the column and green the row of level 0; 3 x 3 pixels are lost."""

    info: SlideInfo

    def read(self, box: Box, mpp: Mpp) -> Region:
        own = self.info.known_mpp
        rows, cols = (
            round(size * side / wanted)
            for size, side, wanted in ((box.height_l0, own.y, mpp.y), (box.width_l0, own.x, mpp.x))
        )
        rgb = np.zeros((rows, cols, 3), np.uint8)
        rgb[..., 0] = box.x_l0 + np.arange(cols) * box.width_l0 / cols
        rgb[..., 1] = (box.y_l0 + np.arange(rows) * box.height_l0 / rows)[:, None]
        lost = LOST.intersection(box)
        return Region(rgb, () if lost is None else (lost,))

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


@pytest.fixture
def made_up_slides(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Open any file as a slide of 60 x 50 pixels whose bounds begin at (10, 5)."""

    def install(stated: Mpp | None) -> None:
        def opened(path: Path, given: GivenMpp | None = None) -> MadeUpSlide:
            return MadeUpSlide(
                SlideInfo(
                    path=path,
                    files=(path,),
                    vendor="made up",
                    reader="none",
                    size_l0=(60, 50),
                    plane=Box(10, 5, 50, 45),
                    bounds_l0=(10, 5),
                    downsamples=(1.0,),
                    levels=((60, 50),),
                    mpp=given.mpp if given else stated,
                    mpp_source="metadata" if given or stated else "unknown",
                    objective=None,
                )
            )

        monkeypatch.setattr("wsi_necrosis.dataset.annotated.open_slide", opened)
        monkeypatch.setattr("wsi_necrosis.dataset.cutting.open_slide", opened)

    return install
