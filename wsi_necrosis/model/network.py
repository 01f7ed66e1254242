"""The hierarchical tile classifier in torch, on a backbone from timm.

An image branch and a radiomics branch are joined by a gate. A coarse head tells tumour from the rest,
a fine head viable from non-viable tumour; their product gives three classes. After arXiv 2601.09416,
with two changes: features are standardised by the checkpoint instead of a BatchNorm, and the
backbone's own mean and std are used. Simpler models, for ablation, lack a branch, the gate or the hierarchy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, cast

import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.spec import ModelSpec

Fusion = Literal["gate", "concat", "image", "radiomics"]
Heads = Literal["hierarchical", "flat"]


class Logits(NamedTuple):
    """Logits: coarse (non-tumour, tumour), fine (non-viable, viable); weights of the gate (image, radiomics)."""

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
    """Sizes of a classifier; `fusion`, `heads` and widths as in `spec.ModelSpec`."""

    pooled: int
    radiomic: int
    fusion: Fusion
    heads: Heads
    hidden: int
    gate_hidden: int
    dropout: float


class Classifier(nn.Module):
    """From pooled image features and standardised radiomics to the coarse and the fine logits."""

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
        # One softmax over three classes, written as the coarse and the fine one whose product it is.
        non_tumour, tumour = self.flat(fused).split([1, 2], dim=1)
        return Logits(torch.cat([non_tumour, tumour.logsumexp(dim=1, keepdim=True)], dim=1), tumour, gate)

    def _fused(self, pooled: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        fusion, n = self.shape.fusion, z.shape[0]  # traced from z, so that a converted network takes any n
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


class NetworkOutput(NamedTuple):
    """Probabilities (n, 3) and gate weights (n, 2) of n tiles."""

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

    def forward(self, tiles: Tensor, z: Tensor) -> NetworkOutput:
        """Means over the members for uint8 tiles (n, h, w, 3) with z-scores (n, F)."""
        pooled = self.backbone(tiles) if self.backbone is not None else z[:, :0]
        answers = [member(pooled, z) for member in self.members]
        prob = torch.stack([answer.prob() for answer in answers]).mean(dim=0)
        gate = torch.stack([answer.gate.float() for answer in answers]).mean(dim=0)
        return NetworkOutput(prob, gate)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Weights by name, for `checkpoint.save_checkpoint`."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.state_dict().items()}
