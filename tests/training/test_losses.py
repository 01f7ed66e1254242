from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from wsi_necrosis.model.network import Classifier, Logits, Shape, mean_prob
from wsi_necrosis.training.losses import HeadLoss, LossName, squared_weights

NAMES: tuple[LossName, ...] = ("hierarchical", "paper", "fixed", "flat")
STROMA, DEAD, VIABLE, MIXED = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.5, 0.5)
SIX = (STROMA, STROMA, STROMA, DEAD, VIABLE, VIABLE)  # weights: coarse 1, 1; fine 1.5, .75; flat 2/3, 2, 1
BATCH = (STROMA, VIABLE)
COARSE = (math.log(1 + math.exp(-2)) + math.log(2)) / 2  # of LOGITS and BATCH
FINE = math.log(1 + math.exp(-1))  # of the viable tile alone
FLAT = (2 / 3 * math.log(1 + math.exp(-2)) + math.log(2) + FINE) / (2 / 3 + 1)
LOGITS = ([[2.0, 0.0], [0.0, 0.0]], [[9.0, 0.0], [0.0, 1.0]])
numbers = st.floats(-8, 8, width=32)


def made(
    name: LossName, truth: tuple[tuple[float, ...], ...] = SIX, s: tuple[float, float] = (0, 0)
) -> HeadLoss:
    loss = HeadLoss(name, np.array(truth))
    if name in {"hierarchical", "paper"}:
        with torch.no_grad():
            loss.s.copy_(torch.tensor(s))
    return loss


def logits(coarse: list[list[float]], fine: list[list[float]], *, learn: bool = False) -> Logits:
    tensors = (torch.tensor(part, dtype=torch.float32, requires_grad=learn) for part in (coarse, fine))
    return Logits(*tensors, torch.ones(len(coarse), 2))


def rows(*truth: tuple[float, ...]) -> Tensor:
    return torch.tensor(truth, dtype=torch.float32)


def gradient(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    assert tensor.grad is not None
    return tensor.grad


def test_classes_weigh_by_inverse_frequency_within_each_head() -> None:
    loss = made("fixed")
    np.testing.assert_allclose(loss.coarse_weight, [1.0, 1.0])
    np.testing.assert_allclose(loss.fine_weight, [1.5, 0.75])
    np.testing.assert_allclose(loss.flat_weight, [2 / 3, 2.0, 1.0], rtol=1e-6)


def test_a_mixed_tile_counts_half_for_each_class() -> None:
    loss = made("fixed", (STROMA, MIXED, MIXED, VIABLE))
    np.testing.assert_allclose(loss.fine_weight, [3 / 2 / 1, 3 / 2 / 2])
    np.testing.assert_allclose(loss.flat_weight, [4 / 3 / 1, 4 / 3 / 1, 4 / 3 / 2], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "s", "expected"),
    [
        ("hierarchical", (0.5, -1.0), math.exp(-0.5) * COARSE + 0.25 + math.exp(1) * FINE - 0.5),
        ("hierarchical", (-3.0, 4.0), 3 * COARSE - math.log(3) / 2 + 0.2 * FINE - math.log(0.2) / 2),
        ("paper", (0.5, -1.0), math.exp(-0.5) * COARSE + 0.2 * 0.5 + math.exp(1) * FINE - 0.2),
        ("paper", (-3.0, 4.0), 3 * COARSE - 0.2 * math.log(3) + 0.2 * FINE - 0.2 * math.log(0.2)),
        ("fixed", (0.0, 0.0), COARSE + FINE),
        ("flat", (0.0, 0.0), FLAT),
    ],
    ids=["hierarchical", "hierarchical-far", "paper", "paper-clamped", "fixed", "flat"],
)
def test_each_loss_by_hand(name: LossName, s: tuple[float, float], expected: float) -> None:
    """Learned weights stop at 3 and .2."""
    parts = made(name, s=s)([logits(*LOGITS)], rows(*BATCH))
    assert parts.total.item() == pytest.approx(expected, rel=1e-5)
    assert parts.coarse.item() == pytest.approx(COARSE, rel=1e-5)
    assert parts.fine.item() == pytest.approx(FINE, rel=1e-5)
    assert not parts.coarse.requires_grad
    assert not parts.fine.requires_grad


def test_weights_of_the_heads() -> None:
    assert made("hierarchical", s=(-3, 4)).weights() == pytest.approx((3, 0.2))
    assert made("paper", s=(-3, 4)).weights() == pytest.approx((3, 0.2))
    assert made("paper", s=(0.5, -1)).weights() == pytest.approx((math.exp(-0.5), math.e))
    assert made("fixed").weights() == made("flat").weights() == (1, 1)
    assert not list(made("fixed").parameters())
    assert not list(made("flat").parameters())


@given(ce=st.tuples(st.floats(0.17, 2.4), st.floats(0.17, 2.4)))
def test_learned_weights_settle_at_one_over_twice_the_loss(ce: tuple[float, float]) -> None:
    """exp(-s) CE + s / 2 has its least value at s = ln(2 CE), where the weight lies within [0.2, 3]."""
    loss = made("hierarchical", (STROMA, DEAD), s=(math.log(2 * ce[0]), math.log(2 * ce[1])))
    right = [math.log(math.expm1(value)) for value in ce]  # the logit of the wrong answer that costs CE
    parts = loss([logits([[0, right[0]], [right[0], 0]], [[0, 0], [0, right[1]]])], rows(STROMA, DEAD))
    assert (parts.coarse.item(), parts.fine.item()) == pytest.approx(ce, rel=1e-3)
    parts.total.backward()
    np.testing.assert_allclose(gradient(loss.s), [0, 0], atol=1e-3)
    np.testing.assert_allclose(loss.weights(), [1 / 2 / value for value in ce], rtol=1e-3)


@given(s=st.tuples(st.floats(-1, 1.5, width=32), st.floats(-1, 1.5, width=32)))
def test_learned_weights_have_the_gradient_of_their_formula(s: tuple[float, float]) -> None:
    loss = made("hierarchical", s=s)
    loss([logits(*LOGITS)], rows(*BATCH)).total.backward()
    expected = [0.5 - math.exp(-s[0]) * COARSE, 0.5 - math.exp(-s[1]) * FINE]
    np.testing.assert_allclose(gradient(loss.s), expected, rtol=1e-4, atol=1e-5)


@given(
    three=st.lists(st.tuples(numbers, numbers, numbers), min_size=6, max_size=6),
    classes=st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_the_flat_loss_is_the_weighted_cross_entropy_of_torch(
    three: list[tuple[float, float, float]], classes: list[int]
) -> None:
    """Of three logits, whatever constants the two heads that stand for them carry."""
    z = torch.tensor(three)
    coarse = torch.stack([z[:, 0], z[:, 1:].logsumexp(dim=1)], dim=1) + 1.5
    found = made("flat")([Logits(coarse, z[:, 1:] - 0.5, torch.ones(6, 2))], torch.eye(3)[classes]).total
    weight = torch.tensor([2 / 3, 2.0, 1.0])
    expected = cross_entropy(z, torch.tensor(classes), weight=weight)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)


def test_flat_heads_give_the_softmax_of_three_logits() -> None:
    rng = torch.Generator().manual_seed(1)
    classifier = Classifier(Shape(4, 3, "concat", "flat", 8, 4, 0.0)).eval()
    pooled, z = torch.randn(5, 4, generator=rng), torch.randn(5, 3, generator=rng)
    given_to_head: list[Tensor] = []
    handle = classifier.heads[0].flat.register_forward_hook(lambda module, x, y: given_to_head.append(y))
    found = mean_prob(classifier(pooled, z))
    handle.remove()
    np.testing.assert_allclose(found.detach(), given_to_head[0].softmax(dim=1).detach(), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_mixed_tile_is_half_of_each_class(name: LossName) -> None:
    """Its fine part is the mean of what both classes would give; pure tumour is what its coarse part sees."""
    balanced = (STROMA, DEAD, VIABLE)
    one = logits([[0.3, 1.0]], [[0.7, -0.4]])
    mixed, dead, viable = (made(name, balanced)([one], rows(row)) for row in (MIXED, DEAD, VIABLE))
    assert mixed.fine.item() == pytest.approx((dead.fine.item() + viable.fine.item()) / 2)
    assert mixed.coarse.item() == pytest.approx(dead.coarse.item())
    assert mixed.total.item() == pytest.approx((dead.total.item() + viable.total.item()) / 2)


def test_an_even_answer_to_a_mixed_tile_is_the_best() -> None:
    one = logits([[0.0, 1.0]], [[0.0, 0.0]], learn=True)
    made("fixed", (STROMA, DEAD, VIABLE))([one], rows(MIXED)).total.backward()
    np.testing.assert_allclose(gradient(one.fine), [[0, 0]], atol=1e-7)


@pytest.mark.parametrize("name", ["hierarchical", "paper", "fixed"])
def test_a_batch_without_tumour_leaves_the_fine_head_and_its_weight_alone(name: LossName) -> None:
    loss = made(name)
    answers = logits([[0.0, 0.0], [0.0, 0.0]], [[0.0, 3.0], [0.0, 3.0]], learn=True)
    parts = loss([answers], rows(STROMA, STROMA))
    parts.total.backward()
    assert answers.fine.grad is None
    assert gradient(answers.coarse).abs().max() > 0
    assert parts.fine.item() == 0
    if name != "fixed":
        assert gradient(loss.s)[0] != 0
        assert gradient(loss.s)[1] == 0


def test_non_tumour_beside_tumour_gives_the_fine_head_no_gradient() -> None:
    answers = logits([[0.0, 0.0], [0.0, 0.0]], [[0.0, 3.0], [0.0, 3.0]], learn=True)
    made("hierarchical")([answers], rows(STROMA, DEAD)).total.backward()
    assert gradient(answers.fine)[0].abs().max() == 0
    assert gradient(answers.fine)[1].abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", range(3))
def test_an_absent_class_weighs_nothing(name: LossName, missing: int) -> None:
    there = tuple(row for at, row in enumerate((STROMA, DEAD, VIABLE)) if at != missing)
    loss = made(name, there)
    weights = loss.flat_weight.numpy()
    assert weights[missing] == 0
    np.testing.assert_allclose(np.delete(weights, missing), 1)
    # a tile of a class that was not there when the weights were made costs nothing in the head that splits it
    absent = loss([logits([[0.0, 9.0]], [[9.0, -9.0]])], rows((STROMA, DEAD, VIABLE)[missing]))
    assert (absent.coarse if missing == 0 else absent.fine).item() == 0
    parts = loss([logits([[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]])], rows(*there))
    assert torch.isfinite(torch.stack(parts)).all()


@pytest.mark.parametrize("name", NAMES)
def test_sets_of_heads_count_by_their_mean(name: LossName) -> None:
    one, other = logits(*LOGITS), logits([[0.5, -1.0], [2.0, 1.0]], [[0.0, 0.0], [3.0, -1.0]])
    loss = made(name, s=(0.25, -0.5))
    alone = [loss([answer], rows(*BATCH)).total.item() for answer in (one, other)]
    assert loss([one, other], rows(*BATCH)).total.item() == pytest.approx(sum(alone) / 2, rel=1e-5)


@pytest.mark.parametrize(("fusion", "sets"), [("image", 1), ("mean", 2)])
def test_squared_weights_are_those_of_linear_layers_by_set_of_heads(fusion: str, sets: int) -> None:
    classifier = Classifier(Shape(4, 3, fusion, "flat", 0, 4, 0.0))
    with torch.no_grad():
        for head in classifier.heads:
            head.flat.weight.fill_(2.0)
            head.flat.bias.fill_(100.0)
    inputs = 4 if fusion == "image" else 7
    assert squared_weights(classifier).item() == pytest.approx(4 * 3 * inputs / 2 / sets)
