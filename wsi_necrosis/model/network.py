"""The hierarchical tile classifier in torch, on a backbone from timm.

A coarse head tells tumour from the rest, a fine head viable from non-viable tumour; their product gives three
classes. An image branch and a radiomics branch have heads of their own, whose probabilities are averaged, or are
joined by a gate (arXiv 2601.09416) before the heads. Features are standardised by the checkpoint instead of a
BatchNorm, and the backbone's own mean and std are used. Simpler models, for comparison, lack a branch, hidden
layers or the hierarchy.
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

Fusion = Literal["gate", "concat", "mean", "image", "radiomics"]
Heads = Literal["hierarchical", "flat"]
LEAST_STD = 1e-4  # of an image feature; its inverse stays well within float16


class Logits(NamedTuple):
    """Logits: coarse (non-tumour, tumour), fine (non-viable, viable); weights of the gate (image, radiomics)."""

    coarse: Tensor
    fine: Tensor
    gate: Tensor

    def prob(self) -> Tensor:
        """(n, 3): P(non-tumour) = A0, P(non-viable) = A1 B0, P(viable) = A1 B1."""
        coarse, fine = self.coarse.float().softmax(dim=1), self.fine.float().softmax(dim=1)
        return torch.cat([coarse[:, :1], coarse[:, 1:] * fine], dim=1)


def mean_prob(answers: Sequence[Logits]) -> Tensor:
    """Mean probabilities (n, 3) of sets of heads."""
    return torch.stack([answer.prob() for answer in answers]).mean(dim=0)


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
    """Sizes of a classifier; `fusion`, `heads` and widths as in `spec.ModelSpec`.

    Raises
    ------
    ModelError
        Branches without hidden layers are to be joined before the heads.
    """

    pooled: int
    radiomic: int
    fusion: Fusion
    heads: Heads
    hidden: int
    gate_hidden: int
    dropout: float

    def __post_init__(self) -> None:
        if not self.hidden and self.fusion in {"gate", "concat"}:
            raise ModelError(
                f"fusion {self.fusion!r} joins hidden layers, and hidden 0 asks for none; set network.fusion=mean"
            )


class Scale(nn.Module):
    """Image features of mean 0 and standard deviation 1 over the training crops, for linear heads."""

    centre: Tensor
    factor: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("factor", torch.ones(width))

    def fit(self, features: Tensor) -> None:
        """Take mean and spread from features (n, width); one that hardly varies becomes 0."""
        std = features.std(dim=0, correction=0)
        varies = std > LEAST_STD
        self.centre.copy_(features.mean(dim=0))
        self.factor.copy_(torch.where(varies, 1 / std.clamp_min(LEAST_STD), 0))

    def forward(self, features: Tensor) -> Tensor:
        """Scaled features (n, width)."""
        return (features - self.centre) * self.factor


class TumourHeads(nn.Module):
    """A coarse and a fine head, or one head for three classes, on features (n, width)."""

    def __init__(self, width: int, kind: Heads) -> None:
        super().__init__()
        if kind == "flat":
            self.flat = nn.Linear(width, 3)
        else:
            self.coarse = nn.Linear(width, 2)
            self.fine = nn.Linear(width, 2)
        self.kind = kind

    def forward(self, features: Tensor, gate: Tensor) -> Logits:
        """Logits of n tiles; the weights of the branches (n, 2) are passed on."""
        if self.kind == "hierarchical":
            return Logits(self.coarse(features), self.fine(features), gate)
        # One softmax over three classes, written as the coarse and the fine one whose product it is.
        non_tumour, tumour = self.flat(features).split([1, 2], dim=1)
        return Logits(torch.cat([non_tumour, tumour.logsumexp(dim=1, keepdim=True)], dim=1), tumour, gate)


class Classifier(nn.Module):
    """From pooled image features and standardised radiomics to the logits of each set of heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        if shape.fusion != "radiomics":
            self.image = _image_branch(shape)
        if shape.fusion != "image":
            self.radiomics = _radiomics_branch(shape)
        if shape.fusion == "gate":
            self.gate = nn.Sequential(
                nn.Linear(2 * shape.hidden, shape.gate_hidden),
                nn.ReLU(),
                nn.Dropout(shape.dropout),
                nn.Linear(shape.gate_hidden, 2),
            )
        if shape.fusion == "concat":
            self.join = nn.Sequential(
                nn.Linear(2 * shape.hidden, shape.hidden), nn.ReLU(), nn.Dropout(shape.dropout)
            )
        self.heads = nn.ModuleList(TumourHeads(width, shape.heads) for width in _head_widths(shape))

    def forward(self, pooled: Tensor, z: Tensor) -> tuple[Logits, ...]:
        """Logits of n tiles from (n, pooled) image features and (n, radiomic) z-scores, for each set of heads."""
        features, gate = self._features(pooled, z)
        return tuple(head(each, gate) for head, each in zip(self.heads, features, strict=True))

    def _features(self, pooled: Tensor, z: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Input of each set of heads, and the weights of the branches."""
        fusion, n = self.shape.fusion, z.shape[0]  # traced from z, so that a converted network takes any n
        if fusion == "image":
            return (self.image(pooled),), z.new_tensor([1.0, 0.0]).expand(n, 2)
        if fusion == "radiomics":
            return (self.radiomics(z),), z.new_tensor([0.0, 1.0]).expand(n, 2)
        image, radiomics = self.image(pooled), self.radiomics(z)
        if fusion == "mean":
            return (image, radiomics), z.new_full((n, 2), 0.5)
        both = torch.cat([image, radiomics], dim=1)
        if fusion == "concat":
            return (self.join(both),), z.new_full((n, 2), torch.nan)
        gate = self.gate(both).softmax(dim=1)
        return (gate[:, :1] * image + gate[:, 1:] * radiomics,), gate


def _image_branch(shape: Shape) -> nn.Module:
    if not shape.hidden:
        return Scale(shape.pooled)
    layers = nn.Linear(shape.pooled, shape.hidden), nn.BatchNorm1d(shape.hidden), nn.ReLU()
    return nn.Sequential(*layers, nn.Dropout(shape.dropout))


def _radiomics_branch(shape: Shape) -> nn.Module:
    if not shape.hidden:
        return nn.Identity()
    first = nn.Linear(shape.radiomic, shape.hidden), nn.ReLU(), nn.Dropout(shape.dropout)
    return nn.Sequential(*first, nn.Linear(shape.hidden, shape.hidden), nn.ReLU())


def _head_widths(shape: Shape) -> list[int]:
    """Width of the input of each set of heads."""
    own = {"image": shape.hidden or shape.pooled, "radiomics": shape.hidden or shape.radiomic}
    if shape.fusion == "mean":
        return list(own.values())
    return [own.get(shape.fusion, shape.hidden)]


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
        prob = torch.stack([mean_prob(answer) for answer in answers]).mean(dim=0)
        gate = torch.stack([answer[0].gate.float() for answer in answers]).mean(dim=0)
        return NetworkOutput(prob, gate)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Weights by name, for `checkpoint.save_checkpoint`."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.state_dict().items()}
