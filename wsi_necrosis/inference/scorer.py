"""From a block of tiles to scores: the unit of work.

A block's answer depends on its pixels, the model and the batch size alone: every batch has the same
number of tiles (the last one is padded) and runs in one intra-op thread, so results are bit-equal
for any number of workers on one type of processor.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.inference.stats import WorkerStats
from wsi_necrosis.model.tile_model import Prediction, TileModel
from wsi_necrosis.radiomics.extraction import Engine, extract
from wsi_necrosis.scores.block_scores import BlockScores, CellState, empty_block
from wsi_necrosis.slides.slide import Slide
from wsi_necrosis.stain.normalise import Normaliser
from wsi_necrosis.tiling.blocks import TileBatch, read_block
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.tiling.grid import Block, PixelCount, TileGrid
from wsi_necrosis.tiling.quality import tile_quality


@dataclass(frozen=True)
class Scorer:
    """An open slide, a model, and the slide's grid for the model, with which a worker scores blocks.

    Attributes
    ----------
    slide : Slide
        The open slide.
    model : TileModel
        The model, on its device.
    grid : TileGrid
        The slide's grid for the model.
    batch_tiles : int
        Tiles per forward pass.
    engine : {"compiled", "reference"}
        Engine of the radiomics.
    normaliser : Normaliser, optional
        Brings the slide's stains to the standard that the model was trained on, before anything else.
    focus_limit : float, optional
        Least focus of a tile; without it, quality is not measured.
    black_fill : bool
        Whether the slide's writer filled with black what was not scanned.
    """

    slide: Slide
    model: TileModel
    grid: TileGrid
    batch_tiles: int
    engine: Engine = "compiled"
    normaliser: Normaliser | None = None
    focus_limit: float | None = None
    black_fill: bool = False

    def score(self, block: Block, px: NDArray[np.uint32], stats: WorkerStats) -> BlockScores:
        """Score every cell of a block that holds tissue.

        Parameters
        ----------
        block : Block
            The block.
        px : uint32 array (rows, cols, 5)
            Mask pixels of the block's cells by `grid.PixelCount`.
        stats : WorkerStats
            Receives the seconds of reading, normalising, quality, radiomics and network, and the areas read.

        Returns
        -------
        BlockScores
            A cell whose tile could not be read in full is unreadable; its tissue pixels move to
            that term.
        """
        found = empty_block(px, len(self.model.spec.recipe.names))
        wanted = px[..., PixelCount.TISSUE] > 0
        if not wanted.any():
            return found
        with stats.stage("read"):
            batch = read_block(self.slide, self.grid, block, wanted, black_fill=self.black_fill)
        stats.decoded_l0 += batch.decoded_l0
        stats.needed_l0 += batch.needed_l0
        lost = tuple(batch.cells[~batch.readable].T)
        found.px[(*lost, PixelCount.UNREADABLE)] += found.px[(*lost, PixelCount.TISSUE)]
        found.px[(*lost, PixelCount.TISSUE)] = 0
        found.state[lost] = CellState.UNREADABLE
        if batch.readable.any():
            self._fill(found, batch, stats)
        return found

    def _fill(self, found: BlockScores, batch: TileBatch, stats: WorkerStats) -> None:
        good = batch.readable
        cells, pixels, masks = tuple(batch.cells[good].T), batch.pixels[good], batch.foreground[good]
        if self.normaliser is not None:
            with stats.stage("normalise"):
                pixels = self.normaliser.apply(pixels)
                masks = foreground(pixels)
        mpp = self.grid.mpp.side
        if self.focus_limit is not None:
            with stats.stage("quality"):
                found.quality[cells] = tile_quality(pixels, masks, mpp, self.focus_limit)
        with stats.stage("radiomics"):
            features, _ = extract(pixels, masks, self.model.spec.recipe, mpp, engine=self.engine)
        with stats.stage("network"):
            prediction = predict_padded(self.model, pixels, features, self.batch_tiles)
        found.prob[cells] = prediction.prob
        found.uncertainty[cells] = prediction.uncertainty
        found.radiomics[cells] = features
        found.ood[cells] = prediction.ood
        found.gate[cells] = prediction.gate
        found.state[cells] = CellState.SCORED


def predict_padded(
    model: TileModel, pixels: NDArray[np.uint8], features: NDArray[np.float64], batch_tiles: int
) -> Prediction:
    """Predictions of tiles in batches of exactly `batch_tiles`; the last batch is padded, and its padding dropped."""
    missing = -len(pixels) % batch_tiles
    pixels = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])
    features = np.concatenate([features, np.repeat(features[-1:], missing, axis=0)])
    parts = [
        model.predict(pixels[start : start + batch_tiles], features[start : start + batch_tiles])
        for start in range(0, len(pixels), batch_tiles)
    ]
    wanted = slice(len(pixels) - missing)
    names = [field.name for field in fields(Prediction)]
    return Prediction(
        **{name: np.concatenate([getattr(part, name) for part in parts])[wanted] for name in names}
    )
