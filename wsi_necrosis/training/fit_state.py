"""The parts that learn in a fit, and the state from which an interrupted fit resumes."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from timm.models import group_parameters
from torch import Tensor, nn

from wsi_necrosis.errors import StoreError
from wsi_necrosis.files import atomic_write
from wsi_necrosis.model.backend import choose_device
from wsi_necrosis.model.network import Backbone, Classifier, Heads, Scale, Shape
from wsi_necrosis.settings.train import FitSettings, TrainSettings
from wsi_necrosis.training.losses import HeadLoss
from wsi_necrosis.training.samples import Samples, pooled_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learners:
    """The parts that learn, on their device."""

    classifier: Classifier
    loss: HeadLoss
    backbone: Backbone | None
    device: str

    @classmethod
    def of(cls, samples: Samples, backbone: Backbone | None, settings: TrainSettings) -> Learners:
        """Classifier and loss with random initial weights, and a copy of the backbone if it learns."""
        device = choose_device(settings.fit.device)
        live = backbone if settings.fit.tune != "frozen" and settings.network.fusion != "radiomics" else None
        pooled = samples.pooled.shape[-1] if live is None else live.width
        classifier = Classifier(shape_of(settings, pooled, samples.features.shape[-1]))
        _fit_scale(classifier, samples, live)
        loss = HeadLoss(settings.fit.loss, samples.truth)
        copied = None if live is None else _unfrozen(copy.deepcopy(live), settings.fit).to(device)
        return cls(classifier.to(device), loss.to(device), copied, device)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules whose state is saved, by name."""
        named = {"classifier": self.classifier, "loss": self.loss, "backbone": self.backbone}
        return {name: module for name, module in named.items() if module is not None}


def _fit_scale(classifier: Classifier, samples: Samples, backbone: Backbone | None) -> None:
    """Scale the image features for linear heads, by those of all views; a backbone that learns is applied once."""
    for module in classifier.modules():
        if isinstance(module, Scale):
            pooled = samples.pooled if backbone is None else pooled_of(backbone, samples.pixels, "cpu")
            module.fit(torch.from_numpy(pooled.reshape(-1, pooled.shape[-1])))


def _unfrozen(backbone: Backbone, settings: FitSettings) -> Backbone:
    """The backbone with gradients for the parameters that learn only; statistics of its BatchNorm layers stay fixed."""
    body = backbone.eval().body
    groups = group_parameters(body, body.group_matcher(coarse=False))
    first = {"head": len(groups), "partial": max(0, len(groups) - settings.tune_groups), "full": 0}[
        settings.tune
    ]
    learns = {name for at in list(groups)[first:] for name in groups[at]}
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(name in learns)
    return backbone


def optimiser_of(parts: Learners, settings: FitSettings) -> torch.optim.Optimizer:
    """AdamW with a learning rate for each of classifier, loss and backbone; no weight decay for the loss."""
    tuned = [] if parts.backbone is None else [p for p in parts.backbone.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": list(parts.classifier.parameters()), "weight_decay": settings.weight_decay},
        {"params": list(parts.loss.parameters()), "weight_decay": 0.0, "lr": settings.loss_learning_rate},
        {"params": tuned, "weight_decay": settings.weight_decay, "lr": settings.backbone_learning_rate},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate, fused=True
    )


@dataclass
class FitState:
    """Everything that an interrupted fit needs to resume: weights, optimiser and progress."""

    parts: Learners
    optimiser: torch.optim.Optimizer
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)  # loss, coarse, fine, crops of this epoch
    history: list[list[float]] = field(default_factory=list)
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    done: bool = False

    FACTS = ("step", "sums", "history", "best", "done")

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """A copy of all weights, which later steps do not change."""
        return {
            name: {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}
            for name, module in self.parts.modules.items()
        }

    def take(self, weights: dict[str, dict[str, Tensor]]) -> None:
        """Set all weights."""
        for name, module in self.parts.modules.items():
            module.load_state_dict(weights[name])

    def save(self, path: Path) -> None:
        """Write the state to a temporary file and rename it."""
        facts = {name: getattr(self, name) for name in self.FACTS}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            torch.save(
                {**facts, "weights": self.weights(), "optimiser": self.optimiser.state_dict()}, partial
            )

    def load(self, path: Path) -> None:
        """Resume from a saved state, if there is one.

        Raises
        ------
        StoreError
            The file cannot be read, is damaged, or is the state of another fit.
        """
        if not path.exists():
            return
        try:
            _require_whole(path)
            facts = torch.load(path, map_location=self.parts.device, weights_only=True)
            self.take(facts["weights"])
            self.optimiser.load_state_dict(facts["optimiser"])
            for name in self.FACTS:
                setattr(self, name, facts[name])
        except Exception as error:  # noqa: BLE001  (torch raises many types for damaged or mismatched states)
            raise StoreError(
                f"{path} is no readable state of this fit ({error}); delete it to begin anew"
            ) from None
        log.info("going on at step %d of %s", self.step, path.name)


def _require_whole(path: Path) -> None:
    """Raise where the file is damaged; torch does not verify the checksums that it writes."""
    with ZipFile(path) as parts:
        if parts.testzip() is not None:
            raise BadZipFile("its checksums do not agree")


def heads_of(settings: FitSettings) -> Heads:
    """The heads that a loss trains."""
    return "flat" if settings.loss == "flat" else "hierarchical"


def shape_of(settings: TrainSettings, pooled: int, radiomic: int) -> Shape:
    """Sizes of the classifier that the settings ask for."""
    net = settings.network
    return Shape(
        pooled, radiomic, net.fusion, heads_of(settings.fit), net.hidden, net.gate_hidden, net.dropout
    )
