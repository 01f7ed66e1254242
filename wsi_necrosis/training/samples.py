"""Training samples of labelled tiles: crops in several views, with backbone features and radiomics.

All views but the first are varied (`training.views`). Radiomics do not depend on direction, but on everything else that
varies, so they are computed on each view.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.crops import cut_crops
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.model.backend import choose_device
from wsi_necrosis.model.network import Backbone
from wsi_necrosis.model.torch_runner import precision
from wsi_necrosis.pace import paced
from wsi_necrosis.radiomics.extraction import extract, prepare
from wsi_necrosis.radiomics.recipe import Recipe, find_recipe
from wsi_necrosis.settings.train import VARIATIONS, CropSettings, NetworkSettings, TrainSettings
from wsi_necrosis.stain.normalise import fit_normaliser
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.crop_labels import LeftOut, inherits, left_out_by_case, log_left_out
from wsi_necrosis.training.views import Views

OVERVIEW_UM = 4.0  # pixel size of the overview that a run fits stains to; averaging weakens extreme colours
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Samples:
    """The m crops of n tiles.

    Attributes
    ----------
    tiles : tuple of LabelledTile
        The tiles.
    owner : int64 array (m,)
        Tile of each crop.
    pixels : uint8 array (m, tile_px, tile_px, 3)
        The crops without augmentation, stains normalised if the settings ask for it.
    pooled : float32 array (m, views, P)
        Backbone features of every view; P is 0 where there is no backbone, or it is not frozen.
    features : float64 array (m, views, F)
        Radiomics of every view, unscaled.
    recipe : Recipe
        Which radiomics.
    left_out : mapping
        Crops of all tiles by case and class, and how many did not inherit the label of their tile
        (`crop_labels.inherits`) and are not among the m.
    """

    tiles: tuple[LabelledTile, ...]
    owner: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    pooled: NDArray[np.float32]
    features: NDArray[np.float64]
    recipe: Recipe
    left_out: Mapping[str, Mapping[str, LeftOut]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of crops."""
        return len(self.owner)

    @cached_property
    def truth(self) -> NDArray[np.float64]:
        """True probabilities (m, 3) of each crop: those of its tile."""
        return np.array([tile.truth for tile in self.tiles], np.float64).reshape(-1, len(CLASSES))[self.owner]

    def rows(self, tiles: Sequence[LabelledTile]) -> NDArray[np.bool_]:
        """Which crops (m,) belong to these tiles."""
        wanted = set(tiles)
        return np.array([tile in wanted for tile in self.tiles], bool)[self.owner]

    def only(self, tiles: Sequence[LabelledTile]) -> Samples:
        """The samples of these tiles, in the order that they have here; `left_out` stays that of all."""
        wanted = set(tiles)
        kept = [at for at, tile in enumerate(self.tiles) if tile in wanted]
        rows = self.rows(tiles)
        owner = np.searchsorted(kept, self.owner[rows])
        some = tuple(self.tiles[at] for at in kept)
        return replace(
            self,
            tiles=some,
            owner=owner,
            pixels=self.pixels[rows],
            pooled=self.pooled[rows],
            features=self.features[rows],
        )

    def by_tile(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the crops of each tile: (n, ...) from (m, ...)."""
        sums = np.zeros((len(self.tiles), *values.shape[1:]))
        np.add.at(sums, self.owner, values)
        count = np.bincount(self.owner, minlength=len(self.tiles))
        return sums / count.reshape(-1, *[1] * (values.ndim - 1))


class SampleCache:
    """Samples of one set of tiles under many settings; what two settings share is computed once."""

    def __init__(self, tiles: Sequence[LabelledTile]) -> None:
        self.tiles = tuple(tiles)
        self._kept: dict[str, object] = {}

    def samples(self, settings: TrainSettings) -> Samples:
        """Cut crops and compute everything that does not change while fitting.

        Raises
        ------
        DatasetError
            A picture cannot be read, is too small, or too coarse.
        UsageError, MissingExtraError, ModelError
            The backbone or its weights are not available.
        """
        crops, network = settings.crops, settings.network
        if settings.fit.tune != "frozen":  # the backbone is applied to newly augmented crops in each batch
            return self.plain(crops, recipe_of(network))
        measured = self._measured(crops, recipe_of(network))
        if network.fusion == "radiomics":
            return measured
        key = f"pooled {network.backbone} {network.initial} {network.mean} {network.std} {crops!r}"
        key += f" {settings.fit.seed}" if network.initial == "random" else ""
        views = Views(measured.tiles, measured.owner, measured.pixels, crops)
        return replace(measured, pooled=self._once(key, lambda: self._pooled(views, settings)))

    def plain(self, crops: CropSettings, recipe: Recipe) -> Samples:
        """Crops without augmentation, with their radiomics; the backbone is not applied.

        Raises
        ------
        DatasetError
            As `samples`.
        """
        return self._measured(crops.model_copy(update={"views": 1}), recipe)

    def _measured(self, crops: CropSettings, recipe: Recipe) -> Samples:
        cut = self._crops(crops)
        views = Views(cut.tiles, cut.owner, cut.pixels, crops)
        features = self._once(f"radiomics {recipe.name} {crops!r}", lambda: radiomic_views(views, recipe))
        pooled = np.zeros((len(cut.owner), crops.views, 0), np.float32)
        return Samples(cut.tiles, cut.owner, cut.pixels, pooled, features, recipe, cut.left_out)

    def _crops(self, crops: CropSettings) -> Cut:
        facts = crops.model_dump(exclude={"views", *VARIATIONS, "batch", "workers"})
        return self._once(f"crops {facts}", lambda: cut_labelled(self.tiles, crops))

    def _pooled(self, views: Views, settings: TrainSettings) -> NDArray[np.float32]:
        backbone = initial_backbone(settings.network, settings.fit.seed)
        return pooled_views(views, backbone, choose_device(settings.fit.device))

    def _once(self, key: str, make: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # type: ignore[return-value]  # made by the same call


def radiomic_views(views: Views, recipe: Recipe) -> NDArray[np.float64]:
    """Features (m, views, F) of every view of every crop."""
    crops = views.crops
    prepare(recipe, crops.mpp_um)
    varied = bool(recipe.features and crops.varies)
    log.info("radiomics %s of %d crops", recipe.name, len(views.owner))

    def of_crop(row: int) -> NDArray[np.float64]:
        pixels = views.of(row) if varied else views.pixels[row : row + 1]
        return measure(pixels, recipe, crops.mpp_um)

    with ThreadPoolExecutor(crops.workers) as pool:
        n = len(views.owner)
        found = np.stack(list(paced(pool.map(of_crop, range(n)), n, "radiomics of crops")))
    return np.broadcast_to(found, (len(found), crops.views, found.shape[2]))


def measure(pixels: NDArray[np.uint8], recipe: Recipe, mpp: float) -> NDArray[np.float64]:
    """Radiomics (n, F) of crops (n, h, w, 3), over their own foreground."""
    return extract(pixels, foreground(pixels), recipe, mpp)[0]


def pooled_views(views: Views, backbone: Backbone, device: str = "cpu") -> NDArray[np.float32]:
    """Backbone features (m, views, P) of every view of every crop."""
    crops, n = views.crops, len(views.owner)
    backbone = backbone.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in stubs
    log.info("backbone features of %d crops in %d views", n, crops.views)

    def of_batch(start: int) -> NDArray[np.float32]:
        pixels = np.concatenate([views.of(row) for row in range(start, min(start + crops.batch, n))])
        parts = [
            pooled_of(backbone, pixels[at : at + crops.batch], device)
            for at in range(0, len(pixels), crops.batch)
        ]
        return np.concatenate(parts).reshape(-1, crops.views, backbone.width)

    with ThreadPoolExecutor(crops.workers) as pool, intra_op_threads(1):
        starts = range(0, n, crops.batch)
        return np.concatenate(list(paced(pool.map(of_batch, starts), len(starts), "batches of crops")))


def pooled_of(backbone: Backbone, pixels: NDArray[np.uint8], device: str) -> NDArray[np.float32]:
    """Backbone features (n, P) of one batch of crops (n, h, w, 3)."""
    with torch.inference_mode(), precision(device):
        features: torch.Tensor = backbone(torch.tensor(pixels).to(device))
        return features.float().cpu().numpy()


def recipe_of(network: NetworkSettings) -> Recipe:
    """The recipe of a network: none for a model of the image alone."""
    return find_recipe("none" if network.fusion == "image" else network.recipe)


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """A context with `count` intra-op threads, so that results do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Cut(NamedTuple):
    """Crops that inherit the label of their tile: tiles that have some, owner (m,), pixels, and what is left out."""

    tiles: tuple[LabelledTile, ...]
    owner: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    left_out: Mapping[str, Mapping[str, LeftOut]]


def cut_labelled(tiles: Sequence[LabelledTile], crops: CropSettings) -> Cut:
    """Cut the crops of tiles, leave out those that do not inherit the label, and normalise if the settings say so.

    Raises
    ------
    DatasetError
        A picture cannot be read, is too small or too coarse, or no crop is left.
    """
    with ThreadPoolExecutor(crops.workers) as pool:
        n = len(tiles)
        by_tile = list(paced(pool.map(lambda tile: cut_crops(tile, crops), tiles), n, "tiles cut into crops"))
        checked = pool.map(lambda tile, part: inherits(tile, part, crops), tiles, by_tile)
        kept = list(paced(checked, n, "tiles whose crops are checked"))
    left_out = left_out_by_case(tiles, kept)
    log_left_out(left_out)
    if not any(inherited.any() for inherited in kept):
        raise DatasetError(
            "no crop of any tile inherits its label; lower crops.min_tissue and crops.min_nuclei_per_mm2"
        )
    by_tile = _normalised(tiles, by_tile, crops)
    some = [at for at, inherited in enumerate(kept) if inherited.any()]
    parts = [by_tile[at][kept[at]] for at in some]
    owner = np.repeat(np.arange(len(some)), [len(part) for part in parts])
    return Cut(tuple(tiles[at] for at in some), owner, np.concatenate(parts), left_out)


def _normalised(
    tiles: Sequence[LabelledTile], by_tile: list[NDArray[np.uint8]], crops: CropSettings
) -> list[NDArray[np.uint8]]:
    """Crops of each tile with the stains of its slide brought to one standard, if the settings ask for it."""
    if crops.normalise == "none":
        return by_tile
    slides = [(tile.case, tile.slide) for tile in tiles]
    fitted = {
        slide: fit_normaliser(crops.normalise, tissue)
        for slide, tissue in _tissue(slides, by_tile, crops.mpp_um)
    }
    return [fitted[slide].apply(part) for slide, part in zip(slides, by_tile, strict=True)]


def _tissue(
    slides: Sequence[tuple[str, str]], by_tile: Sequence[NDArray[np.uint8]], mpp: float
) -> Iterator[tuple[tuple[str, str], NDArray[np.uint8]]]:
    """Each slide with the tissue pixels (k, 3) of all its tiles, averaged to the pixel size of a run's overview."""
    for slide in dict.fromkeys(slides):
        coarse = [
            coarser(part, max(1, round(OVERVIEW_UM / mpp)))
            for of, part in zip(slides, by_tile, strict=True)
            if of == slide
        ]
        yield slide, np.concatenate([part[foreground(part)] for part in coarse])


def coarser(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Crops (k, h, w, 3) averaged over `side` x `side` pixels; incomplete blocks at the edges are left out."""
    k, height, width, _ = pixels.shape
    rows, cols = height // side, width // side
    blocks = pixels[:, : rows * side, : cols * side].reshape(k, rows, side, cols, side, 3)
    means: NDArray[np.uint8] = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    return means
