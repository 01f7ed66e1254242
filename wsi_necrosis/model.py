"""The hierarchical tile classifier; this module owns torch and timm at run time.

An image branch and a radiomics branch are joined by a gate. A coarse head tells tumour from the rest,
a fine head viable from non-viable tumour; their product gives three classes. After arXiv 2601.09416,
with two changes: features are standardised by the checkpoint instead of a BatchNorm, and the
backbone's own mean and std are used. Simpler models, which are there to compare with, lack a branch, the
gate or the hierarchy.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsi_necrosis.checkpoint import ModelSpec, load_spec, load_tensors
from wsi_necrosis.errors import ModelError, UsageError
from wsi_necrosis.memory import keep_freed_memory

Device = Literal["auto", "cpu", "cuda", "mps"]
Fusion = Literal["gate", "concat", "image", "radiomics"]
Heads = Literal["hierarchical", "flat"]


@dataclass(frozen=True)
class Prediction:
    """What the model says of n tiles.

    Attributes
    ----------
    prob : float32 array (n, 3)
        Calibrated probabilities in the order of `classes.CLASSES`; each row sums to 1.
    gate : float32 array (n, 2)
        Weight of the image and of the radiomics branch; each row sums to 1. NaN where branches are joined
        without weights.
    novelty : float32 array (n,)
        Distance from the training tiles, over the model's own limit: above 1 a tile is unusual. 0 from a
        model that does not measure it.
    """

    prob: NDArray[np.float32]
    gate: NDArray[np.float32]
    novelty: NDArray[np.float32]


class Logits(NamedTuple):
    """Raw answers: coarse (non-tumour, tumour), fine (non-viable, viable), gate (image, radiomics)."""

    coarse: Tensor
    fine: Tensor
    gate: Tensor

    def prob(self) -> Tensor:
        """(n, 3): P(non-tumour) = A0, P(non-viable) = A1 B0, P(viable) = A1 B1."""
        coarse, fine = self.coarse.float().softmax(dim=1), self.fine.float().softmax(dim=1)
        return torch.cat([coarse[:, :1], coarse[:, 1:] * fine], dim=1)


class Backbone(nn.Module):
    """A timm network from uint8 tiles to pooled features, with its own input mean and std."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise ModelError(f"timm {timm.__version__} has no backbone {name!r}; see timm.list_models()")
        self.body = timm.create_model(name, pretrained=False, num_classes=0)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def width(self) -> int:
        """Number of pooled features."""
        return int(self.body.num_features)

    def forward(self, tiles: Tensor) -> Tensor:
        """Pooled features (n, width) of uint8 tiles (n, h, w, 3)."""
        x = tiles.permute(0, 3, 1, 2).float() / 255  # stays channels-last in memory, the faster layout
        return cast(Tensor, self.body((x - self.mean) / self.std))


def backbone_input(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and std of a timm network's own input, for R, G, B in [0, 1].

    Raises
    ------
    ModelError
        timm has no such network.
    """
    if not timm.is_model(name):
        raise ModelError(f"timm {timm.__version__} has no backbone {name!r}; see timm.list_models()")
    config = timm.get_pretrained_cfg(name)
    return cast(tuple[float, float, float], tuple(config.mean)), cast(
        tuple[float, float, float], tuple(config.std)
    )


@dataclass(frozen=True)
class Shape:
    """Sizes of a classifier; `fusion`, `heads` and widths as in `checkpoint.ModelSpec`."""

    pooled: int
    radiomic: int
    fusion: Fusion
    heads: Heads
    hidden: int
    gate_hidden: int
    dropout: float


class Classifier(nn.Module):
    """From pooled image features and standardised radiomics to the two decisions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        hidden, drop = shape.hidden, shape.dropout
        if shape.fusion != "radiomics":
            self.image = nn.Sequential(
                nn.Linear(shape.pooled, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(drop)
            )
        if shape.fusion != "image":
            self.radiomics = nn.Sequential(
                nn.Linear(shape.radiomic, hidden),
                nn.ReLU(),
                nn.Dropout(drop),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
            )
        if shape.fusion == "gate":
            self.gate = nn.Sequential(
                nn.Linear(2 * hidden, shape.gate_hidden),
                nn.ReLU(),
                nn.Dropout(drop),
                nn.Linear(shape.gate_hidden, 2),
            )
        if shape.fusion == "concat":
            self.join = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Dropout(drop))
        if shape.heads == "flat":
            self.flat = nn.Linear(hidden, 3)
        else:
            self.coarse = nn.Linear(hidden, 2)
            self.fine = nn.Linear(hidden, 2)

    def forward(self, pooled: Tensor, z: Tensor) -> Logits:
        """Logits of n tiles from (n, pooled) image features and (n, radiomic) z-scores."""
        fused, gate = self._fused(pooled, z)
        if self.shape.heads == "hierarchical":
            return Logits(self.coarse(fused), self.fine(fused), gate)
        # One decision among three, written as the two whose product it is.
        non_tumour, tumour = self.flat(fused).split([1, 2], dim=1)
        return Logits(torch.cat([non_tumour, tumour.logsumexp(dim=1, keepdim=True)], dim=1), tumour, gate)

    def _fused(self, pooled: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        fusion, n = self.shape.fusion, len(z)
        if fusion == "image":
            return self.image(pooled), z.new_tensor([1.0, 0.0]).expand(n, 2)
        if fusion == "radiomics":
            return self.radiomics(z), z.new_tensor([0.0, 1.0]).expand(n, 2)
        image, radiomics = self.image(pooled), self.radiomics(z)
        both = torch.cat([image, radiomics], dim=1)
        if fusion == "concat":
            return self.join(both), z.new_full((n, 2), torch.nan)
        gate = self.gate(both).softmax(dim=1)
        return gate[:, :1] * image + gate[:, 1:] * radiomics, gate


class Seen(NamedTuple):
    """Of n tiles: probabilities (n, 3) and gate weights (n, 2)."""

    prob: Tensor
    gate: Tensor


class Network(nn.Module):
    """One backbone and its classifiers: what `model.safetensors` holds."""

    def __init__(self, backbone: Backbone | None, classifiers: Sequence[Classifier]) -> None:
        super().__init__()
        self.backbone = backbone
        self.members = nn.ModuleList(classifiers)

    @classmethod
    def of(cls, spec: ModelSpec) -> Self:
        """The network that a description asks for, with random weights."""
        backbone = Backbone(spec.backbone, spec.mean, spec.std) if spec.backbone else None
        pooled = backbone.width if backbone else 0
        shape = Shape(
            pooled,
            len(spec.feature_names),
            spec.fusion,
            spec.heads,
            spec.hidden,
            spec.gate_hidden,
            spec.dropout,
        )
        return cls(backbone, [Classifier(shape) for _ in range(spec.members)])

    def forward(self, tiles: Tensor, z: Tensor) -> Seen:
        """What is said of uint8 tiles (n, h, w, 3) with z-scores (n, F), as means over the members."""
        pooled = self.backbone(tiles) if self.backbone is not None else z[:, :0]
        answers = [member(pooled, z) for member in self.members]
        prob = torch.stack([answer.prob() for answer in answers]).mean(dim=0)
        gate = torch.stack([answer.gate.float() for answer in answers]).mean(dim=0)
        return Seen(prob, gate)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Weights by name, for `checkpoint.save_checkpoint`."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.state_dict().items()}


class TileModel:
    """A model on its device, ready to score tiles.

    Attributes
    ----------
    spec : ModelSpec
        What it is.
    device : str
        Where it runs.
    """

    def __init__(self, spec: ModelSpec, network: Network, device: str = "cpu") -> None:
        self.spec = spec
        self.device = device
        self._network = network.eval().to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def predict(self, tiles: NDArray[np.uint8], features: NDArray[np.float64]) -> Prediction:
        """Score tiles.

        Parameters
        ----------
        tiles : uint8 array (n, tile_px, tile_px, 3)
            RGB at the model's mpp.
        features : float64 array (n, F)
            Radiomics of the same tiles, unscaled, in the order of `spec.feature_names`. A missing
            value (NaN) counts as the training median.

        Returns
        -------
        Prediction
            float32 whatever the device computes in. On one processor type a batch of the same shape
            and content gives the same bits.

        Raises
        ------
        ModelError
            Tiles or features have not the shape that the model was trained on.
        """
        self._check(tiles, features)
        z = self.spec.standardise.apply(features).astype(np.float32)
        with torch.inference_mode(), precision(self.device):
            seen = self._network(torch.tensor(tiles).to(self.device), torch.tensor(z).to(self.device))
            prob, gate = (part.float().cpu().numpy() for part in seen)
        novelty = self.spec.novelty
        unlike = np.zeros(len(tiles), np.float32) if novelty is None else novelty.of(tiles)
        return Prediction(self.spec.calibration.apply(prob), gate, unlike)

    def _check(self, tiles: NDArray[np.uint8], features: NDArray[np.float64]) -> None:
        n, side = len(tiles), self.spec.tile_px
        if tiles.dtype != np.uint8 or tiles.shape != (n, side, side, 3):
            raise ModelError(
                f"model {self.spec.name!r} takes uint8 tiles of {side} x {side} px in RGB, "
                f"got {tiles.dtype} {tiles.shape}"
            )
        if features.shape != (n, len(self.spec.feature_names)):
            raise ModelError(
                f"model {self.spec.name!r} takes {len(self.spec.feature_names)} features for each of {n} tiles, "
                f"got {features.shape}; compute them with its own recipe"
            )


def compute_dtype(device: str) -> str:
    """What a device computes in: bfloat16 on CUDA; float32 elsewhere, for the same bits on one type of processor."""
    return "bfloat16" if device.startswith("cuda") else "float32"


def precision(device: str) -> AbstractContextManager[Any]:
    """Inside, networks on this device compute in `compute_dtype`."""
    if compute_dtype(device) == "bfloat16":
        return torch.autocast(device, dtype=torch.bfloat16)
    return nullcontext()


def choose_device(wanted: Device | str) -> str:
    """The device to compute on; the only place that decides it.

    Raises
    ------
    UsageError
        The device is unknown, or was asked for and is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if wanted not in there:
        raise UsageError(f"there is no device {wanted!r}; take auto, cpu, cuda or mps")
    if not there[wanted]:
        raise UsageError(f"device {wanted!r} is not available on this machine; take --device auto or cpu")
    return wanted


def load_model(name_or_folder: str | Path, device: str = "cpu") -> TileModel:
    """A shipped model (by name) or a checkpoint folder, on a device from `choose_device`.

    Raises
    ------
    ModelError
        The checkpoint is missing or damaged, or its weights do not fit its description.
    """
    keep_freed_memory()
    spec = load_spec(name_or_folder)
    network = Network.of(spec)
    stored = {name: torch.from_numpy(array) for name, array in load_tensors(name_or_folder, spec).items()}
    _require_fit(network.state_dict(), stored, spec.name)
    network.load_state_dict(stored)  # float16 is widened to the network's float32
    return TileModel(spec, network, device)


def _require_fit(wanted: dict[str, Tensor], stored: dict[str, Tensor], name: str) -> None:
    faults = [f"{key} is missing" for key in wanted if key not in stored]
    faults += [f"{key} is unexpected" for key in sorted(stored) if key not in wanted]
    faults += [
        f"{key} has shape {tuple(stored[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in stored and stored[key].shape != wanted[key].shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ModelError(
            f"the weights of model {name!r} do not fit its description: {'; '.join(faults[:3])}{more}; "
            "fetch the model again, or install the timm version named in its model.json"
        )
