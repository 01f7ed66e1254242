"""A model that scores tiles, on any backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.calibration import entropy
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.tiling.foreground import foreground


@dataclass(frozen=True)
class Prediction:
    """The model's output for n tiles.

    Attributes
    ----------
    prob : float32 array (n, 3)
        Probabilities as the network gives them, in the order of `classes.CLASSES`; each row sums to 1. No temperature
        has touched them, as they are summed into areas (`model.quantity`).
    uncertainty : float32 array (n,)
        Entropy over ln 3, from 0 to 1, of the probabilities calibrated by `spec.calibration`.
    gate : float32 array (n, 2)
        Weight of the image and of the radiomics branch; each row sums to 1. NaN where branches are joined
        without weights.
    ood : float32 array (n,)
        Distance from the training tiles over the model's own limit, above 1 out of distribution. 0 from a
        model that does not measure it.
    """

    prob: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    gate: NDArray[np.float32]
    ood: NDArray[np.float32]


class Runner(Protocol):
    """A network on a backend."""

    def __call__(
        self, tiles: NDArray[np.uint8], z: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (n, 3), not calibrated, and gate weights (n, 2), of tiles and z-scores (n, F)."""


class TileModel:
    """A model on its backend, ready to score tiles.

    Attributes
    ----------
    spec : ModelSpec
        Its description.
    run : Runner
        Its network, on its backend.
    """

    def __init__(self, spec: ModelSpec, run: Runner) -> None:
        self.spec = spec
        self.run = run

    def predict(self, tiles: NDArray[np.uint8], features: NDArray[np.float64] | None = None) -> Prediction:
        """Score tiles.

        Parameters
        ----------
        tiles : uint8 array (n, tile_px, tile_px, 3)
            RGB at the model's mpp.
            A model whose `spec.normalise` is not "none" expects tiles of a slide whose stains were normalised.
        features : float64 array (n, F), optional
            Radiomics of the same tiles, unscaled, in the order of `spec.feature_names`. A missing
            value (NaN) counts as the training median. Computed from the tiles unless given.

        Returns
        -------
        Prediction
            float32 whatever the backend computes in. On one processor type a batch of the same shape
            and content gives the same bits, in any thread.

        Raises
        ------
        ModelError
            Tiles or features do not have the shape that the model was trained on.

        Examples
        --------
        >>> from wsi_necrosis.model.loading import load_model
        >>> glass = np.full((2, 32, 32, 3), 243, np.uint8)
        >>> load_model("phantom").predict(glass).prob.shape
        (2, 3)
        """
        self._check_tiles(tiles)
        if features is None:
            features = extract(tiles, foreground(tiles), self.spec.recipe, self.spec.mpp)[0]
        self._check_features(len(tiles), features)
        z = self.spec.standardise.apply(features).astype(np.float32)
        prob, gate = self.run(tiles, z)
        uncertainty = entropy(self.spec.calibration.apply(prob)).astype(np.float32)
        detector = self.spec.ood
        ood = np.zeros(len(tiles), np.float32) if detector is None else detector.of(tiles)
        return Prediction(prob.astype(np.float32), uncertainty, gate, ood)

    def _check_tiles(self, tiles: NDArray[np.uint8]) -> None:
        n, side = len(tiles), self.spec.tile_px
        if tiles.dtype != np.uint8 or tiles.shape != (n, side, side, 3):
            raise ModelError(
                f"model {self.spec.name!r} takes uint8 tiles of {side} x {side} px in RGB, "
                f"got {tiles.dtype} {tiles.shape}"
            )

    def _check_features(self, n: int, features: NDArray[np.float64]) -> None:
        if features.shape != (n, len(self.spec.feature_names)):
            raise ModelError(
                f"model {self.spec.name!r} takes {len(self.spec.feature_names)} features for each of {n} tiles, "
                f"got {features.shape}; compute them with its own recipe"
            )
