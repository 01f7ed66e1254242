"""The finished slides of an output folder, as the viewer names and opens them."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsi_necrosis.errors import GoneError, SlideError, UsageError, WsiNecrosisError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.quantify.sentences import estimators_text, interval_text, percent_text
from wsi_necrosis.report.slide_report import SlideReport, open_results
from wsi_necrosis.report.verify import finished_folders
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.slide import Slide, open_slide
from wsi_necrosis.tiling.mask import MaskClass
from wsi_necrosis.viewer.cells import SlideCells
from wsi_necrosis.viewer.tiles import OverviewTiles, SlideTiles

KEPT_OPEN = 4  # slides; one that was opened earlier is closed
KEY_LENGTH = 12  # hexadecimal digits
TISSUE_PX = 2048  # most pixels on the longer side of the picture of tissue
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ViewedSlide:
    """A finished slide; what it holds is read when it is first asked for.

    Attributes
    ----------
    key : str
        Its name in addresses: it holds no path.
    folder : str
        Its folder, below that of the results.
    report : SlideReport
        Its results.
    """

    key: str
    folder: str
    report: SlideReport

    @cached_property
    def cells(self) -> SlideCells:
        """What was found in its cells."""
        return SlideCells(self.report)

    @cached_property
    def _opened(self) -> tuple[SlideTiles | OverviewTiles, str]:
        """Its tiles, and why they are no finer than its overview; empty where they are the slide's own."""
        try:
            return SlideTiles(_open(self.report.result), lambda: self.report.tissue().overview), ""
        except SlideError as error:
            log.warning("%s", error)
            width, height = self.report.result["provenance"]["slide"]["size_l0"]
            overview = self.report.tissue().picture
            return OverviewTiles(overview, (width, height)), f"{error} Only its overview is shown."

    @cached_property
    def tissue_png(self) -> bytes:
        """Which part of its plane is tissue, or could not be read: a PNG, clear elsewhere."""
        mask = self.report.tissue().mask
        share = min(1.0, TISSUE_PX / max(mask.kind.shape))
        plane = mask.plane.width_l0 / mask.px_l0[0], mask.plane.height_l0 / mask.px_l0[1]
        size = tuple(max(1, round(side * share)) for side in plane)
        cover = np.isin(mask.kind, (MaskClass.TISSUE, MaskClass.UNREADABLE)).astype(np.uint8) * 255
        inside = 0.0, 0.0, min(plane[0], cover.shape[1]), min(plane[1], cover.shape[0])
        alpha = Image.fromarray(cover).resize((size[0], size[1]), Image.Resampling.BOX, inside)
        stream = io.BytesIO()
        Image.merge("LA", (Image.new("L", alpha.size), alpha)).save(stream, "PNG", compress_level=3)
        return stream.getvalue()

    def tile(self, level: int, row: int, col: int) -> bytes:
        """A tile as JPEG.

        Raises
        ------
        UsageError
            There is no such tile.
        GoneError
            The slide was there when it was opened, and is not as it was.
        """
        try:
            return self._opened[0].tile(level, row, col)
        except SlideError as error:
            raise GoneError(
                f"{self.report.result['slide_id']} cannot be read any more: it was moved, deleted or changed while it "
                "was shown; bring it back and load the page again"
            ) from error

    def summary(self) -> dict[str, Any]:
        """Its row in the table of slides."""
        result = self.report.result
        return {
            "key": self.key,
            "folder": self.folder,
            "slide_id": result["slide_id"],
            "case": str(result.get("manifest", {}).get("case") or ""),
            "status": result["status"],
            "percent_viable": result["percent_viable"],
            "percent_text": percent_text(result),
            "tumour_mm2": result["tumour_mm2"],
        }

    def description(self) -> dict[str, Any]:
        """What the page shows of it, JSON-ready."""
        result, (tiles, note) = self.report.result, self._opened
        grid, cells = self.cells.grid, self.cells
        slide = result["provenance"]["slide"]
        scored = result["status"] == "scored"
        return {
            **self.summary(),
            "note": note,
            "size_l0": slide["size_l0"],
            "mpp": [slide["mpp_x"], slide["mpp_y"]],
            "levels": [
                {"downsample": level.downsample, "tile": level.tile, "shape": level.shape}
                for level in tiles.levels
            ],
            "grid": {
                "x_l0": grid.plane.x_l0,
                "y_l0": grid.plane.y_l0,
                "width_l0": grid.plane.width_l0,
                "height_l0": grid.plane.height_l0,
                "cell_l0": grid.cell_l0,
                "shape": grid.shape,
            },
            "estimators_text": estimators_text(result) if scored else "",
            "interval_text": interval_text(result) if scored else "",
            "areas": {name: result[f"{name}_mm2"] for name in ("viable", "non_viable", "non_tumour")},
            "warnings": [each["text"] for each in result["warnings"]],
            "model": result["provenance"]["model"]["name"],
            "n_foci": cells.n_foci,
            "foci": [asdict(focus) for focus in cells.foci],
        }

    def close(self) -> None:
        """Close the slide, if it was opened."""
        if "_opened" in self.__dict__:
            self._opened[0].close()


def _open(result: Mapping[str, Any]) -> Slide:
    """The slide that was measured.

    Raises
    ------
    SlideError
        It is not known where it is, it is not there any more, or it is another one.
    """
    path, facts = Path(result["path"]), result["provenance"]["slide"]
    if not result["path"]:
        raise SlideError("The results do not say where the slide is, as they are anonymised.")
    if not path.exists():
        raise SlideError(f"{path} is not there any more; bring it back and load the page again.")
    scene = facts["scene"] if facts["scenes"] else None
    slide = open_slide(path, Mpp(facts["mpp_x"], facts["mpp_y"]), scene=scene)
    if slide_fingerprint(slide.info.files) != result["provenance"]["inputs"]["slide"]["fingerprint"]:
        slide.close()
        raise SlideError(f"{path} is not the slide that was measured; measure it again.")
    return slide


class ViewedSlides:
    """The finished slides of an output folder; may be shared by threads.

    Parameters
    ----------
    out : Path
        Folder of results, or that of one slide.

    Raises
    ------
    UsageError
        There are no results that can be read.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._folders = {_key(folder, out): folder for folder in finished_folders(out)}
        self._open: OrderedDict[str, ViewedSlide] = OrderedDict()
        self._lock = threading.Lock()
        if not self._folders:
            raise UsageError(
                f"{out} holds no results of slides; give the folder that `run` or `batch` wrote to"
            )

    def summaries(self) -> list[dict[str, Any]]:
        """A row for each slide whose results can be read."""
        rows = []
        for key in self._folders:
            try:
                rows.append(self._read(key).summary())
            except WsiNecrosisError as error:
                log.warning("%s", error)
        return rows

    def slide(self, key: str) -> ViewedSlide:
        """A slide, which stays open until others take its place.

        Raises
        ------
        UsageError
            There is no slide of this key.
        StoreError
            Its results cannot be read.
        """
        with self._lock:
            if key not in self._open:
                self._open[key] = self._read(key)
            self._open.move_to_end(key)
            closed = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - KEPT_OPEN)]
            found = self._open[key]
        for each in closed:
            each.close()
        return found

    def key_of(self, folder: str) -> str | None:
        """Key of the slide in a folder below that of the results; None where it is not among them."""
        key = _key(self.out / folder, self.out)
        return key if key in self._folders else None

    def close(self) -> None:
        """Close all slides."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def _read(self, key: str) -> ViewedSlide:
        if key not in self._folders:
            raise UsageError(f"there is no slide {key[:40]!r} in these results; choose one of the list")
        folder = self._folders[key]
        return ViewedSlide(key, folder.relative_to(self.out).as_posix(), open_results(folder))


def _key(folder: Path, out: Path) -> str:
    name = folder.relative_to(out).as_posix()
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:KEY_LENGTH]
