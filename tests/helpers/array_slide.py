"""A slide that is an array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import SlideInfo
from wsi_necrosis.slides.stored_levels import Region

MPP = Mpp(1.0, 1.0)


class ArraySlide:
    """A slide that is an array at 1 um per pixel, with no more than the protocol of a slide asks for."""

    def __init__(self, rgb: np.ndarray, lost: tuple[Box, ...] = ()) -> None:
        height, width = rgb.shape[:2]
        path, plane = Path("array"), Box(0, 0, width, height)
        self.info = SlideInfo(
            path, (path,), "array", "array", (width, height), plane, (0, 0), (1.0,), ((width, height),), MPP,
            "metadata", None,
        )  # fmt: skip
        self._rgb, self._lost = np.pad(rgb, ((64, 64), (64, 64), (0, 0)), constant_values=255), lost
        self.reads: list[Box] = []

    def read(self, box: Box, mpp: Mpp, needed: Sequence[Box] | None = None) -> Region:
        assert mpp == MPP
        self.reads.append(box)
        self.needed = needed
        top, left = int(box.y_l0) + 64, int(box.x_l0) + 64
        rgb = self._rgb[top : top + int(box.height_l0), left : left + int(box.width_l0)]
        parts = [box.intersection(lost) for lost in self._lost]
        return Region(rgb, tuple(part for part in parts if part is not None), 7000.0)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
