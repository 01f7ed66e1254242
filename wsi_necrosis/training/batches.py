"""Training batches: features computed beforehand, or crops augmented anew for each batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_necrosis.model.network import Backbone
from wsi_necrosis.model.standardise import Standardiser
from wsi_necrosis.settings.train import CropSettings
from wsi_necrosis.training.samples import Samples, measure
from wsi_necrosis.training.views import TURNS, vary


class Batch(NamedTuple):
    """Image features (n, P), z-scores of radiomics (n, F) and true probabilities (n, 3)."""

    pooled: Tensor
    z: Tensor
    truth: Tensor


class Source(Protocol):
    """Augmented batches to train on, and plain ones to validate on; `truth` (m, 3) holds that of all crops."""

    truth: Tensor

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """These crops, each in a view drawn from `rng`."""
        ...

    def plain(self, rows: NDArray[np.int64]) -> Batch:
        """These crops as they are."""
        ...


class Cached:
    """Features of a frozen backbone and radiomics, computed beforehand in every view."""

    def __init__(self, samples: Samples, standardise: Standardiser, device: str) -> None:
        m, views, width = samples.features.shape
        z = standardise.apply(samples.features.reshape(m * views, width)).reshape(m, views, width)
        self._pooled = torch.from_numpy(samples.pooled).to(device)
        self._z = torch.from_numpy(z.astype(np.float32)).to(device)
        self.truth = torch.from_numpy(samples.truth.astype(np.float32)).to(device)

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """Each crop in one of its views."""
        view = rng.integers(self._z.shape[1], size=len(rows))
        return Batch(self._pooled[rows, view], self._z[rows, view], self.truth[rows])

    def plain(self, rows: NDArray[np.int64]) -> Batch:
        """The first view of each crop."""
        return Batch(self._pooled[rows, 0], self._z[rows, 0], self.truth[rows])


class Live:
    """Crops augmented anew for each batch, with their radiomics and features of a backbone that may learn."""

    def __init__(
        self,
        samples: Samples,
        standardise: Standardiser,
        backbone: Backbone,
        crops: CropSettings,
        device: str,
    ) -> None:
        self._samples, self._standardise, self._backbone = samples, standardise, backbone
        self._crops, self._device = crops, device
        self.truth = torch.from_numpy(samples.truth.astype(np.float32)).to(device)

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """Each crop turned and varied anew."""
        crops = self._crops
        turns = rng.integers(TURNS if crops.views > 1 else 1, size=len(rows))
        pixels = [
            vary(self._samples.pixels[row], int(turn), rng, crops)
            for row, turn in zip(rows, turns, strict=True)
        ]
        tiles = np.stack(pixels)
        return self._batch(rows, tiles, measure(tiles, self._samples.recipe, crops.mpp_um))

    def plain(self, rows: NDArray[np.int64]) -> Batch:
        """Each crop as it is."""
        return self._batch(rows, self._samples.pixels[rows], self._samples.features[rows, 0])

    def _batch(
        self, rows: NDArray[np.int64], tiles: NDArray[np.uint8], features: NDArray[np.float64]
    ) -> Batch:
        z = torch.from_numpy(self._standardise.apply(features).astype(np.float32)).to(self._device)
        pooled = self._backbone(torch.from_numpy(tiles).to(self._device))
        return Batch(pooled, z, self.truth[rows])


def batch_rows(n: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """All rows in random order; a last batch of one is left out, as BatchNorm needs two."""
    order = rng.permutation(n)
    for start in range(0, n, size):
        rows = order[start : start + size]
        if len(rows) > 1:
            yield rows
