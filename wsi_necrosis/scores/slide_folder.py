"""Read the folder of a slide's results: its files, whether it is complete, and what it was made from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wsi_necrosis.errors import ResultsDifferError, StoreError
from wsi_necrosis.files import checksum
from wsi_necrosis.provenance import RESULT_VERSION, differences
from wsi_necrosis.scores.file_list import changed_files

if TYPE_CHECKING:
    from wsi_necrosis.scores.block_scores import Scores
    from wsi_necrosis.scores.store import ScoreReader
    from wsi_necrosis.tiling.mask import Tissue

RESULT = "result.json"  # written last: where it exists, the folder is complete
PERF = "perf.json"
FILES = "hashes.json"  # sizes and hashes of all other files but the log
LOG = "log.txt"
SCORES = "scores.zarr"
BLOCKS = "blocks"
TISSUE = "tissue.zarr"
TISSUE_CHECKSUM = "checksum.txt"  # in `TISSUE`: of all its other files
TILES = "tiles.parquet"
TILES_CSV = "tiles.csv"
TILES_GEOJSON = "tiles.geojson"
HEATMAP = "heatmap.ome.zarr"
HEATMAP_TIFF = "heatmap.ome.tiff"
REGIONS = "regions.geojson"
FOCI = "foci.csv"
FOCI_REGIONS = "foci.geojson"
REGIONS_GZ = "regions.geojson.gz"
TISSUE_REGION = "tissue.geojson"
ANNOTATIONS = "annotations.db"
THUMBNAIL = "thumbnail.png"
OVERLAY = "overlay.png"
REPORT = "report.html"
PICTURES = "pictures"  # of cells that the report shows, cut from the slide
SLIDES = "slides"  # in the folder of a command's results: a folder for each slide
RUNS = "runs"  # beside it: a record of each batch
RESULT_KEYS = (
    "slide_id",
    "status",
    "reason",
    "percent_viable",
    "finding",
    "limit_of_blank",
    "warnings",
    "provenance",
)
FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType(  # in `export.formats`: the files of each
    {
        "report": (REPORT, PICTURES),
        "geojson": (REGIONS,),
        "ome_zarr": (HEATMAP,),
        "parquet": (TILES,),
        "foci": (FOCI, FOCI_REGIONS),
        "overlay": (OVERLAY, THUMBNAIL),
        "geojson_gz": (REGIONS_GZ,),
        "tissue_geojson": (TISSUE_REGION,),
        "tiles_geojson": (TILES_GEOJSON,),
        "ome_tiff": (HEATMAP_TIFF,),
        "csv": (TILES_CSV,),
        "annotation_store": (ANNOTATIONS,),
    }
)
EXPORTS = tuple(name for names in FORMATS.values() for name in names)
OUTPUTS = (RESULT, PERF, LOG, FILES, SCORES, BLOCKS, TISSUE, *EXPORTS)
EXPORT_FAILED = "export_failed"  # code of the warning that a file could not be made
MOST_NAMED = 5  # files in a message
log = logging.getLogger(__name__)


class SlideFolder:
    """The results of one slide on disk; nothing here writes.

    Parameters
    ----------
    path : str or Path
        The slide's folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def has_scores(self) -> bool:
        """Whether there are scores, complete or not."""
        return (self.path / SCORES / "zarr.json").is_file()

    @property
    def has_tissue(self) -> bool:
        """Whether overview and mask are there, undamaged."""
        tissue = self.path / TISSUE
        try:
            written = (tissue / TISSUE_CHECKSUM).read_text(encoding="utf-8")
            return written == checksum(tissue, without=TISSUE_CHECKSUM)
        except (OSError, ValueError):
            return False

    @property
    def is_complete(self) -> bool:
        """Whether every file of a finished run is there and is as it was written, by size and time."""
        if not self.has_scores or not all((self.path / name).exists() for name in (RESULT, PERF)):
            return False
        changed = changed_files(self.path / FILES)
        if changed:
            log.warning("%s is damaged and is made again: %s", self.path, "; ".join(changed[:MOST_NAMED]))
        return changed == []

    def require_own(self) -> None:
        """Refuse a folder that holds other files than a slide's results, which would be moved with them.

        Raises
        ------
        StoreError
            The message names one of them.
        """
        held = sorted(each.name for each in self.path.iterdir()) if self.path.is_dir() else []
        if held and not {*OUTPUTS} & {*held}:
            raise StoreError(
                f"{self.path} holds other files ({held[0]}); choose a new folder for the results of the slide"
            )

    def result(self) -> dict[str, Any]:
        """The content of `result.json`.

        Raises
        ------
        StoreError
            It is missing or damaged, or another version of this package wrote it.
        """
        path = self.path / RESULT
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            version = result["schema_version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} cannot be read ({error!r}); {self._way_out()}") from None
        if version != RESULT_VERSION:
            raise StoreError(
                f"{path} has schema version {version!r}, this program reads {RESULT_VERSION}; run the slide again"
            )
        missing = [key for key in RESULT_KEYS if key not in result]
        if missing:
            raise StoreError(f"{path} lacks {', '.join(missing)}; run the slide again")
        return dict(result)

    def _way_out(self) -> str:
        """What to do where there is no result; the folder that `-o` names holds those of slides one level below."""
        if (self.path / SLIDES).is_dir():
            return f"the results of a slide are in a folder of {self.path / SLIDES}"
        return "run the slide again"

    def finished_with(self, fingerprints: Mapping[str, str]) -> dict[str, Any] | None:
        """The result of a complete folder that was made with these fingerprints; None for any other folder.

        A folder that lacks a file which could not be made is not complete: the next run tries again.
        """
        if not self.is_complete:
            return None
        try:
            result = self.result()
        except StoreError:
            return None
        provenance = result["provenance"]
        same = isinstance(provenance, dict) and provenance.get("fingerprints") == fingerprints
        lacks_files = any(each["code"] == EXPORT_FAILED for each in result["warnings"])
        return result if same and not lacks_files else None

    def inputs(self) -> Mapping[str, Any]:
        """Every input of the scores, as `plan.make_plan` recorded them.

        Raises
        ------
        StoreError
            There are no scores that can be read.
        """
        return dict(self.score_reader().plan["inputs"])

    def require_inputs(self, wanted: Mapping[str, Any]) -> None:
        """Refuse scores that were made from other inputs; a folder without scores is accepted.

        Raises
        ------
        ResultsDifferError
            The message lists what differs.
        """
        if not self.has_scores:
            return
        before = self.inputs()
        if before["slide"]["fingerprint"] != wanted["slide"]["fingerprint"]:
            raise ResultsDifferError(
                f"{self.path} holds results of another slide of this name; give another folder with -o, or "
                "--overwrite to lose them"
            )
        changed = differences(before, wanted)
        if changed:
            raise ResultsDifferError(
                f"{self.path} holds scores made from other inputs ({'; '.join(changed)}); give --overwrite to "
                "replace them, or another folder with -o"
            )

    def score_reader(self) -> ScoreReader:
        """The score store, opened for reading only.

        Raises
        ------
        StoreError
            There is none, or another version of this package wrote it.
        """
        from wsi_necrosis.scores.store import ScoreReader  # zarr takes half a second to import

        return ScoreReader(self.path)

    def scores(self) -> Scores:
        """Scores of every cell; errors as `score_reader`."""
        return self.score_reader().read()

    def tissue(self) -> Tissue:
        """Overview and mask of the slide, as they were when it was scored.

        Raises
        ------
        StoreError
            They are missing or damaged.
        """
        from wsi_necrosis.scores.tissue_store import read_tissue  # as in `score_reader`

        return read_tissue(self.path)
