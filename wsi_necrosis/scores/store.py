"""The zarr store of what was found in each cell: facts, never decisions.

Every array is (rows, cols, ...) with one chunk per block. A block is done when its record
`blocks/<row>.<col>.json`, which holds the checksums of its chunks, exists: it is written last, by
rename, so a run that was killed at any moment resumes with whole blocks only.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import StoreError
from wsi_necrosis.files import atomic_write, remove, write_json
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.provenance import digest
from wsi_necrosis.tiling.grid import Block, PixelCount, TileGrid

STORE_VERSION = 2
log = logging.getLogger(__name__)


class CellState(IntEnum):
    """What became of a cell."""

    NOT_LOOKED = 0
    NO_TISSUE = 1
    SCORED = 2
    UNREADABLE = 3


@dataclass(frozen=True)
class BlockScores:
    """What was found in the cells of one block; arrays of (rows, cols, ...) of the block.

    Attributes
    ----------
    prob : float32 array (rows, cols, 3)
        Calibrated probabilities in the order of `classes.CLASSES`; NaN where not scored.
    uncertainty : float32 array (rows, cols)
        Entropy of `prob` / ln 3; NaN where not scored.
    ood : float32 array (rows, cols)
        Distance from the training tiles over the model's own limit; NaN where not scored.
    px : uint32 array (rows, cols, 4)
        Mask pixels of the cell by `grid.PixelCount`.
    radiomics : float32 array (rows, cols, features)
        Features of the cell's tile in the order of the model's recipe; NaN where not scored.
    gate : float32 array (rows, cols, 2)
        Weights of the image and the radiomics branch; NaN where not scored, or where the model joins
        them without weights.
    state : uint8 array (rows, cols)
        `CellState` of the cell.
    """

    prob: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    ood: NDArray[np.float32]
    px: NDArray[np.uint32]
    radiomics: NDArray[np.float32]
    gate: NDArray[np.float32]
    state: NDArray[np.uint8]


@dataclass(frozen=True)
class Scores:
    """What was found in every cell of a slide, in memory; arrays as in `BlockScores`.

    All tissue pixels of a complete store lie in scored cells; scored cells may hold background too.

    Attributes
    ----------
    grid : TileGrid
        Where the cells lie.
    px_mm2 : float
        Area of one mask pixel in mm2.
    """

    grid: TileGrid
    px_mm2: float
    prob: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    ood: NDArray[np.float32]
    px: NDArray[np.uint32]
    state: NDArray[np.uint8]


class ScoreStore:
    """`scores.zarr` and `blocks/` in the folder of one slide."""

    def __init__(self, folder: Path) -> None:
        """Open the store of a slide's folder; `create` makes one.

        Raises
        ------
        StoreError
            There is no store, or another version of this package wrote it.
        """
        self.folder = folder
        try:
            self._group = zarr.open_group(folder / "scores.zarr", mode="r+")
        except (FileNotFoundError, ValueError) as error:
            raise StoreError(
                f"{folder} holds no readable scores.zarr ({error}); run with --overwrite"
            ) from None
        self.plan: Mapping[str, Any] = dict(self._group.attrs)
        version = self.plan.get("store_version")
        if version != STORE_VERSION:
            raise StoreError(
                f"{folder / 'scores.zarr'} has store version {version!r}, this program reads {STORE_VERSION}; "
                "run with --overwrite"
            )

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether a slide's folder holds a store."""
        return (folder / "scores.zarr" / "zarr.json").is_file()

    @classmethod
    def create(
        cls,
        folder: Path,
        grid: TileGrid,
        px: NDArray[np.uint32],
        px_mm2: float,
        plan: Mapping[str, Any],
    ) -> ScoreStore:
        """Make a store in which cells without tissue are settled and all others wait.

        Parameters
        ----------
        folder : Path
            The slide's folder; a store that it holds is replaced.
        grid : TileGrid
            Where the cells lie.
        px : uint32 array (rows, cols, 4)
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
            remove(folder / "blocks")
            (folder / "blocks").mkdir()
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be written ({error.strerror}); choose another with -o"
            ) from error
        with atomic_write(folder / "scores.zarr") as partial:
            group = zarr.create_group(partial, attributes={**plan, **facts, "grid": asdict(grid)})
            for field in fields(BlockScores):
                _create_array(group, field.name, getattr(empty, field.name), grid.block_cells)
        return cls(folder)

    @property
    def grid(self) -> TileGrid:
        """Where the cells lie."""
        facts = dict(self.plan["grid"])
        box, mpp, px_l0 = Box(**facts.pop("plane")), Mpp(**facts.pop("mpp")), tuple(facts.pop("px_l0"))
        return TileGrid(plane=box, mpp=mpp, px_l0=px_l0, **facts)

    def write_block(self, block: Block, found: BlockScores) -> None:
        """Write a block's chunk of every array, then its record."""
        for field in fields(BlockScores):
            self._array(field.name)[block.cells] = getattr(found, field.name)
        write_json(self._record(block), self._facts(found))

    def is_done(self, block: Block) -> bool:
        """Whether a block has a record that agrees with its chunks and with this store's inputs."""
        try:
            record = json.loads(self._record(block).read_text(encoding="utf-8"))
            return bool(record == self._facts(self.read_block(block)))
        except (OSError, ValueError, RuntimeError) as error:  # zarr's codecs raise these on damaged chunks
            log.info("block %s of %s is scored again: %s", block.name, self.folder, error)
            return False

    def read_block(self, block: Block) -> BlockScores:
        """A block's chunk of every array."""
        return BlockScores(
            **{f.name: np.asarray(self._array(f.name)[block.cells]) for f in fields(BlockScores)}
        )

    def read(self) -> Scores:
        """The whole store but radiomics and gate, which few need and which are large."""
        names = ("prob", "uncertainty", "ood", "px", "state")
        arrays = {name: np.asarray(self._array(name)[...]) for name in names}
        return Scores(grid=self.grid, px_mm2=float(self.plan["px_mm2"]), **arrays)

    def _array(self, name: str) -> zarr.Array[Any]:
        array = self._group[name]
        if not isinstance(array, zarr.Array):
            raise StoreError(f"{self.folder / 'scores.zarr' / name} is no array; run with --overwrite")
        return array

    def _facts(self, found: BlockScores) -> dict[str, Any]:
        """What a block's record says: from which inputs it was made (a block may outlive its run), and what it is."""
        return {"inputs": digest(self.plan["inputs"]), "checksums": _checksums(found)}

    def _record(self, block: Block) -> Path:
        return self.folder / "blocks" / f"{block.name}.json"


def empty_block(px: NDArray[np.uint32], n_features: int) -> BlockScores:
    """A block (or a whole slide) in which nothing is scored; `px` decides which cells hold tissue."""
    shape = px.shape[:2]

    def nans(*tail: int) -> NDArray[np.float32]:
        return np.full((*shape, *tail), np.nan, np.float32)

    state = np.where(px[..., PixelCount.TISSUE] > 0, CellState.NOT_LOOKED, CellState.NO_TISSUE).astype(
        np.uint8
    )
    return BlockScores(nans(len(CLASSES)), nans(), nans(), px.copy(), nans(n_features), nans(2), state)


def unreadable_block(px: NDArray[np.uint32], n_features: int) -> BlockScores:
    """A block of which no tile could be read: its tissue pixels (of `px`) are unreadable, and so are their cells."""
    found = empty_block(px, n_features)
    tissue = found.px[..., PixelCount.TISSUE]
    found.state[tissue > 0] = CellState.UNREADABLE
    found.px[..., PixelCount.UNREADABLE] += tissue
    tissue[...] = 0
    return found


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
    return {f.name: zlib.crc32(np.ascontiguousarray(getattr(found, f.name)).tobytes()) for f in fields(found)}
