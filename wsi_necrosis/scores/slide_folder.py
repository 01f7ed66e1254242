"""Read the folder of a slide's results: its files, whether it is complete, and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_necrosis.errors import ResultsDifferError, StoreError
from wsi_necrosis.provenance import RESULT_VERSION, differences

if TYPE_CHECKING:
    from wsi_necrosis.scores.block_scores import Scores
    from wsi_necrosis.scores.store import ScoreReader
    from wsi_necrosis.tiling.mask import Tissue

RESULT = "result.json"  # written last: where it exists, the folder is complete
PERF = "perf.json"
LOG = "log.txt"
SCORES = "scores.zarr"
BLOCKS = "blocks"
TISSUE = "tissue.zarr"
TILES = "tiles.parquet"
HEATMAP = "heatmap.ome.zarr"
REGIONS = "regions.geojson"
THUMBNAIL = "thumbnail.png"
OVERLAY = "overlay.png"
EXPORTS = (TILES, HEATMAP, REGIONS, THUMBNAIL, OVERLAY)


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
    def is_complete(self) -> bool:
        """Whether every file of a finished run is there."""
        return self.has_scores and all(
            (self.path / name).exists() for name in (RESULT, PERF, TISSUE, *EXPORTS)
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
            raise StoreError(f"{path} cannot be read ({error!r}); run the slide again") from None
        if version != RESULT_VERSION:
            raise StoreError(
                f"{path} has schema version {version!r}, this program reads {RESULT_VERSION}; run the slide again"
            )
        return dict(result)

    def finished_with(self, fingerprints: Mapping[str, str]) -> dict[str, Any] | None:
        """The result of a complete folder that was made with these fingerprints; None for any other folder."""
        if not self.is_complete:
            return None
        try:
            result = self.result()
        except StoreError:
            return None
        return result if result["provenance"]["fingerprints"] == fingerprints else None

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
