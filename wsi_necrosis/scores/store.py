"""The zarr store of each cell's scores: model output and pixel counts, but no labels, which depend on settings.

Every array is (rows, cols, ...) with one chunk per block. A block is done when its record
`blocks/<row>.<col>.json`, which holds the checksums of its chunks, exists: it is written last, by
rename, so a run that was killed at any moment resumes with whole blocks only.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import StoreError
from wsi_necrosis.files import atomic_write, remove, write_json
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.provenance import digest
from wsi_necrosis.scores.block_scores import BlockScores, CellState, Scores, empty_block, failed_block
from wsi_necrosis.scores.slide_folder import BLOCKS, SCORES
from wsi_necrosis.tiling.grid import Block, PixelCount, TileGrid

STORE_VERSION = 5
log = logging.getLogger(__name__)


class ScoreReader:
    """`scores.zarr` and `blocks/` in the folder of one slide, for reading.

    Parameters
    ----------
    folder : Path
        The slide's folder.

    Raises
    ------
    StoreError
        There is no store, or another version of this package wrote it.
    """

    MODE: ClassVar[Literal["r", "r+"]] = "r"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._group = zarr.open_group(folder / SCORES, mode=self.MODE)
        except (FileNotFoundError, ValueError) as error:
            raise StoreError(f"{folder} holds no readable {SCORES} ({error}); run with --overwrite") from None
        self.plan: Mapping[str, Any] = dict(self._group.attrs)
        version = self.plan.get("store_version")
        if version != STORE_VERSION:
            raise StoreError(
                f"{folder / SCORES} has store version {version!r}, this program reads {STORE_VERSION}; "
                "run with --overwrite"
            )

    @property
    def grid(self) -> TileGrid:
        """Positions of the cells."""
        facts = dict(self.plan["grid"])
        box, mpp, px_l0 = Box(**facts.pop("plane")), Mpp(**facts.pop("mpp")), tuple(facts.pop("px_l0"))
        return TileGrid(plane=box, mpp=mpp, px_l0=px_l0, **facts)

    def is_done(self, block: Block) -> bool:
        """Whether a block has a record that matches its chunks and this store's inputs."""
        try:
            record = json.loads(self._record(block).read_text(encoding="utf-8"))
            return bool(record == self._facts(self.read_block(block)))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, RuntimeError) as error:  # zarr's codecs raise these on damaged chunks
            log.info("block %s of %s is scored again: %s", block.name, self.folder, error)
            return False

    def read_block(self, block: Block) -> BlockScores:
        """A block's chunk of every array."""
        return BlockScores(
            **{f.name: np.asarray(self._array(f.name)[block.cells]) for f in fields(BlockScores)}
        )

    def read(self) -> Scores:
        """The whole store without radiomics and gate, which are large and rarely needed.

        Raises
        ------
        StoreError
            A finished block differs from what was written.
        """
        names = ("prob", "uncertainty", "ood", "quality", "px", "state")
        try:
            arrays = {name: np.asarray(self._array(name)[...]) for name in names}
        except (OSError, ValueError, RuntimeError) as error:  # zarr's codecs raise these on damaged chunks
            raise StoreError(f"{self.folder} has damaged scores ({error}); run with --overwrite") from None
        for block in self.grid.blocks():
            self._require_unchanged(block, {name: array[block.cells] for name, array in arrays.items()})
        return Scores(grid=self.grid, px_mm2=float(self.plan["px_mm2"]), **arrays)

    def features_of(
        self, cells: Sequence[tuple[int, int]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Radiomics (n, F) and weights of the branches (n, 2) of some cells (row, col), one at least.

        Raises
        ------
        StoreError
            They cannot be read.
        """
        try:
            radiomics, gate = (
                np.stack([np.asarray(self._array(name)[cell], np.float32) for cell in cells])
                for name in ("radiomics", "gate")
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise StoreError(f"{self.folder} has damaged scores ({error}); run with --overwrite") from None
        return radiomics, gate

    def read_whole(self, px: NDArray[np.uint32]) -> Scores:
        """As `read`, after a check that no chunk of the pixel counts was lost on disk.

        Parameters
        ----------
        px : uint32 array (rows, cols, 5)
            Mask pixels of each cell, counted anew from the mask.

        Raises
        ------
        StoreError
            Cells hold other numbers of mask pixels.
        """
        scores = self.read()
        if not np.array_equal(scores.px.sum(axis=-1), px.sum(axis=-1)):
            raise StoreError(f"{self.folder} has lost part of its scores; run with --overwrite")
        return scores

    def _require_unchanged(self, block: Block, found: Mapping[str, NDArray[Any]]) -> None:
        """Compare arrays of a block with the checksums in its record; a block that was not scored has none."""
        try:
            checksums = json.loads(self._record(block).read_text(encoding="utf-8"))["checksums"]
            changed = [name for name, array in found.items() if checksums[name] != _checksum(array)]
        except FileNotFoundError:
            changed = ["record"] if (found["state"] == CellState.SCORED).any() else []
        except (OSError, ValueError, KeyError, TypeError):
            changed = ["record"]
        if changed:
            raise StoreError(
                f"{self.folder} has lost part of its scores ({', '.join(changed)} of block {block.name}); run with "
                "--overwrite"
            )

    def _array(self, name: str) -> zarr.Array[Any]:
        array = self._group[name]
        if not isinstance(array, zarr.Array):
            raise StoreError(f"{self.folder / SCORES / name} is no array; run with --overwrite")
        return array

    def _facts(self, found: BlockScores) -> dict[str, Any]:
        """A block's record: a hash of its inputs (a block may outlive its run), and checksums of its chunks."""
        return {"inputs": digest(self.plan["inputs"]), "checksums": _checksums(found)}

    def _record(self, block: Block) -> Path:
        return self.folder / BLOCKS / f"{block.name}.json"


class ScoreStore(ScoreReader):
    """`scores.zarr` and `blocks/` in the folder of one slide, for writing; `create` makes one."""

    MODE = "r+"

    @classmethod
    def create(
        cls,
        folder: Path,
        grid: TileGrid,
        px: NDArray[np.uint32],
        px_mm2: float,
        plan: Mapping[str, Any],
    ) -> ScoreStore:
        """Make a store in which no cell is scored yet; those without tissue are marked as such.

        Parameters
        ----------
        folder : Path
            The slide's folder; a store that it holds is replaced.
        grid : TileGrid
            Positions of the cells.
        px : uint32 array (rows, cols, 5)
            Mask pixels of each cell by `grid.PixelCount`.
        px_mm2 : float
            Area of one mask pixel in mm2.
        plan : mapping
            JSON-ready facts kept with the store: `inputs` and `features` (names) at least.
        """
        facts = {
            "store_version": STORE_VERSION,
            "classes": CLASSES,
            "px_terms": [term.name.lower() for term in PixelCount],
            "px_mm2": px_mm2,
        }
        empty = empty_block(px, len(plan["features"]))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove(folder / BLOCKS)
            (folder / BLOCKS).mkdir()
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be written ({error.strerror}); choose another with -o"
            ) from error
        with atomic_write(folder / SCORES, durable=False) as partial:
            group = zarr.create_group(partial, attributes={**plan, **facts, "grid": asdict(grid)})
            for field in fields(BlockScores):
                _create_array(group, field.name, getattr(empty, field.name), grid.block_cells)
        return cls(folder)

    def write_block(self, block: Block, found: BlockScores) -> None:
        """Write a block's chunk of every array, then its record.

        Raises
        ------
        StoreError
            The folder is gone, or cannot be written.
        """
        self._write_chunks(block, found)
        write_json(self._record(block), self._facts(found), durable=False)

    def mark_failed(self, block: Block, px: NDArray[np.uint32]) -> None:
        """Note that a block could not be scored; without a record it is not done, and the next run scores it.

        Parameters
        ----------
        block : Block
            The block.
        px : uint32 array (rows, cols, 5)
            Mask pixels of its cells by `grid.PixelCount`.
        """
        self._record(block).unlink(missing_ok=True)
        self._write_chunks(block, failed_block(px, len(self.plan["features"])))

    def _write_chunks(self, block: Block, found: BlockScores) -> None:
        if not (self.folder / BLOCKS).is_dir():  # zarr would make the folder anew
            raise StoreError(f"{self.folder} is gone; another process may have taken its slide over")
        for field in fields(BlockScores):
            self._array(field.name)[block.cells] = getattr(found, field.name)


def _create_array(group: zarr.Group, name: str, data: NDArray[Any], block_cells: int) -> None:
    rows, cols, *tail = data.shape
    group.create_array(
        name,
        data=data,  # chunks that hold nothing but the fill value take no space
        chunks=(min(block_cells, rows), min(block_cells, cols), *(max(1, length) for length in tail)),
        fill_value=np.nan if data.dtype.kind == "f" else 0,
        dimension_names=("row", "col", "item")[: data.ndim],
    )


def _checksums(found: BlockScores) -> dict[str, int]:
    return {f.name: _checksum(getattr(found, f.name)) for f in fields(found)}


def _checksum(array: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())
