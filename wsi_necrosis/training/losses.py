"""The training loss: four ways of combining the cross-entropies of the coarse and the fine head.

Where branches have heads of their own, their mean counts. The fine head learns from tumour tiles only. Classes are
weighted by inverse frequency within each head, so that none is favoured for being common. A mixed tile counts one half
for each class of the fine head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from wsi_necrosis.classes import NON_TUMOUR
from wsi_necrosis.model.network import Classifier, Logits

LossName = Literal["hierarchical", "paper", "fixed", "flat"]
PAPER_SHARE = 0.2  # of the sum of s in the published loss
LEAST_S, MOST_S = (
    -math.log(3.0),
    -math.log(0.2),
)  # as published; else a head that fits well gets ever more weight


class Parts(NamedTuple):
    """The loss of one batch, and its coarse and fine parts, which carry no gradient."""

    total: Tensor
    coarse: Tensor
    fine: Tensor


class HeadLoss(nn.Module):
    """The loss of one of four names, for the class frequencies of the training tiles.

    - `hierarchical`: sum over the heads of exp(-s) CE + s / 2, with s learned (Kendall et al. 2018, CVPR;
      the s / 2 is that of a likelihood whose variance is exp(s)).
    - `paper`: sum of exp(-s) CE + 0.2 s, with s learned (arXiv 2601.09416).

      In both, s is clamped so that exp(-s) stays within [0.2, 3], as published.
    - `fixed`: the sum of both, each with weight 1.
    - `flat`: cross-entropy among three classes, weighted by inverse frequency of the three.

    Parameters
    ----------
    name
        The name of the loss.
    truth
        True probabilities (n, 3) of the training crops.
    """

    coarse_weight: Tensor
    fine_weight: Tensor
    flat_weight: Tensor

    def __init__(self, name: LossName, truth: NDArray[np.float64]) -> None:
        super().__init__()
        self.name = name
        if name in {"hierarchical", "paper"}:
            self.s = nn.Parameter(torch.zeros(2))
        count = truth.sum(axis=0)
        tumour = count[NON_TUMOUR + 1 :]
        self.register_buffer("coarse_weight", _inverse(np.array([count[NON_TUMOUR], tumour.sum()])))
        self.register_buffer("fine_weight", _inverse(tumour))
        self.register_buffer("flat_weight", _inverse(count))

    def forward(self, answers: Sequence[Logits], truth: Tensor) -> Parts:
        """Loss of one batch with true probabilities (n, 3): the mean over the sets of heads."""
        each = [self._cross_entropies(logits, truth) for logits in answers]
        coarse, fine = (torch.stack(of_head).mean() for of_head in zip(*each, strict=True))
        if self.name == "flat":
            flat = torch.stack([self._flat(logits, truth) for logits in answers]).mean()
            return Parts(flat, coarse.detach(), fine.detach())
        total = self._weighted(0, coarse)
        if truth[:, NON_TUMOUR].min() < 1:  # else the fine head, and its weight, learn nothing here
            total = total + self._weighted(1, fine)
        return Parts(total, coarse.detach(), fine.detach())

    def weights(self) -> tuple[float, float]:
        """Current weights of the coarse and the fine head."""
        if self.name in {"fixed", "flat"}:
            return 1.0, 1.0
        coarse, fine = torch.exp(-self._s()).tolist()
        return coarse, fine

    def _cross_entropies(self, logits: Logits, truth: Tensor) -> tuple[Tensor, Tensor]:
        tumour = truth[:, NON_TUMOUR + 1 :]
        shares = torch.stack([truth[:, NON_TUMOUR], tumour.sum(dim=1)], dim=1)
        coarse = _cross_entropy(log_softmax(logits.coarse.float(), dim=1), shares, self.coarse_weight)
        fine = _cross_entropy(log_softmax(logits.fine.float(), dim=1), tumour, self.fine_weight)
        return coarse, fine

    def _flat(self, logits: Logits, truth: Tensor) -> Tensor:
        coarse, fine = (log_softmax(part.float(), dim=1) for part in (logits.coarse, logits.fine))
        joint = torch.cat([coarse[:, :1], coarse[:, 1:] + fine], dim=1)
        return _cross_entropy(joint, truth, self.flat_weight)

    def _s(self) -> Tensor:
        return self.s.clamp(LEAST_S, MOST_S)

    def _weighted(self, head: int, loss: Tensor) -> Tensor:
        if self.name == "fixed":
            return loss
        s = self._s()[head]
        return torch.exp(-s) * loss + s * (PAPER_SHARE if self.name == "paper" else 0.5)


def squared_weights(classifier: Classifier) -> Tensor:
    """Half the sum of the squared weights of all linear layers, without biases, over the number of sets of heads.

    With linear heads, the mean cross-entropy plus `l2` times this is logistic regression with C = 1 / (l2 n).
    """
    linear = [module.weight for module in classifier.modules() if isinstance(module, nn.Linear)]
    return torch.stack([weight.square().sum() for weight in linear]).sum() / (2 * len(classifier.heads))


def _cross_entropy(log_prob: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over a batch; rows whose truth is all 0 have no weight, and a batch of such rows gives 0."""
    each = truth * weight
    return -(each * log_prob).sum() / each.sum().clamp_min(torch.finfo(log_prob.dtype).tiny)


def _inverse(count: NDArray[np.float64]) -> Tensor:
    """Inverse frequency, mean 1 over the samples; a class that is absent has weight 0."""
    present = count > 0
    weight = np.divide(count.sum() / max(1, present.sum()), count, out=np.zeros_like(count), where=present)
    return torch.tensor(weight, dtype=torch.float32)
