from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from wsi_necrosis.errors import MissingExtraError, ModelError, UsageError
from wsi_necrosis.settings.train import NetworkSettings, load_train_settings
from wsi_necrosis.training.backbones import initial_backbone, input_of

DENSE = load_train_settings().network
LITE0 = load_train_settings("configs/fast.yaml").network
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def tiny(
    initial: str | Path = "random", backbone: str = "test_byobnet", **changed: object
) -> NetworkSettings:
    return LITE0.model_copy(update={"backbone": backbone, "initial": str(initial), **changed})


def classes_of(backbone: str, classes: int) -> dict[str, Tensor]:
    """State dict of a timm network with random weights, as timm itself gives it; no class, no head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return timm.create_model(backbone, pretrained=False, num_classes=classes).state_dict()


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_random_weights_are_those_of_the_seed() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (initial_backbone(tiny(), seed).body.state_dict() for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("backbone", ["test_byobnet", "test_resnet", "test_vit"])
@pytest.mark.parametrize("classes", [0, 7])
def test_a_file_of_timms_own_weights_is_taken(tmp_path: Path, backbone: str, classes: int) -> None:
    """With the head of a network that told classes apart, or without."""
    tensors = classes_of(backbone, classes)
    found = initial_backbone(tiny(saved(tmp_path / "weights.safetensors", tensors), backbone), 1)
    body = found.body.state_dict()
    assert (len(tensors) - len(body) == 2) == bool(classes)
    assert same(body, {name: tensors[name] for name in body})
    assert not found.training


def test_half_precision_is_widened(tmp_path: Path) -> None:
    tensors = {name: tensor.half() for name, tensor in classes_of("test_vit", 0).items()}
    body = initial_backbone(
        tiny(saved(tmp_path / "half.safetensors", tensors), "test_vit"), 1
    ).body.state_dict()
    assert {tensor.dtype for tensor in body.values()} == {torch.float32}
    assert same(body, {name: tensor.float() for name, tensor in tensors.items()})


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "other.safetensors", classes_of("test_resnet", 0))
    with pytest.raises(
        ModelError, match=r"other.safetensors does not hold the tensors of timm's test_byobnet"
    ):
        initial_backbone(tiny(path), 1)


@pytest.mark.parametrize("fault", ["missing", "unexpected", "shape"])
def test_a_tensor_that_does_not_fit_is_named(tmp_path: Path, fault: str) -> None:
    tensors = dict(classes_of("test_byobnet", 0))
    weight = tensors.pop("stem.conv.weight")
    if fault != "missing":
        tensors["stem.conv.weight"] = weight[:4] if fault == "shape" else weight
    if fault == "unexpected":
        tensors["stem.more"] = weight.clone()
    name = "stem.more" if fault == "unexpected" else "stem.conv.weight"
    with pytest.raises(ModelError, match=f": {name} differ; give the timm name"):
        initial_backbone(tiny(saved(tmp_path / "w.safetensors", tensors)), 1)


def test_weights_that_cannot_be_loaded_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no weights at all")
    for settings, error, message in (
        (tiny("package"), UsageError, "no package of weights is known for test_byobnet"),
        (tiny(backbone="nonesuch"), ModelError, "no backbone"),
        (
            tiny(tmp_path / "absent.safetensors"),
            ModelError,
            "absent.safetensors is not a readable safetensors",
        ),
        (tiny(damaged), ModelError, "damaged.safetensors is not a readable safetensors"),
        (tiny("packet"), UsageError, "'packet' is none of package, random, or a .safetensors file"),
    ):
        with pytest.raises(error, match=message):
            initial_backbone(settings, 1)
    monkeypatch.setattr("wsi_necrosis.training.weight_packages.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"wsi-necrosis\[train\]"):
        initial_backbone(LITE0, 1)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".PKL", ".ckpt"])
def test_a_pickle_is_refused_unread(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"  # it is not even there
    with pytest.raises(ModelError, match="is a pickle, which can run code"):
        initial_backbone(tiny(path), 1)


def test_mean_and_std_are_those_of_the_settings_else_timms_own() -> None:
    """timm gives this network ImageNet's; each of the two is taken by itself."""
    own = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    name = "tf_efficientnet_b0"
    assert input_of(tiny(backbone=name, mean=None, std=None)) == own
    assert input_of(tiny(backbone=name, mean=MEAN, std=None)) == (MEAN, own[1])
    assert input_of(tiny(backbone=name, mean=None, std=STD)) == (own[0], STD)
    assert input_of(tiny(backbone=name, mean=MEAN, std=STD)) == (MEAN, STD)
    assert input_of(tiny(backbone=name, mean=(0.0, 0.0, 0.0), std=STD))[0] == (0, 0, 0)
    with pytest.raises(ModelError, match="no backbone"):
        input_of(tiny(backbone="nonesuch", mean=None))


def test_the_backbone_has_the_mean_and_std_of_the_settings() -> None:
    backbone = initial_backbone(tiny(mean=MEAN, std=STD), 1)
    assert backbone.mean.flatten().tolist() == pytest.approx(MEAN)
    assert backbone.std.flatten().tolist() == pytest.approx(STD)


@pytest.mark.parametrize(("network", "mean", "std"), [(LITE0, 0.5, 0.5), (DENSE, 0.0, 1.0)])
def test_the_shipped_mean_and_std_are_those_of_the_package(
    network: NetworkSettings, mean: float, std: float
) -> None:
    assert (network.mean, network.std) == (None, None)
    assert input_of(network) == ((mean,) * 3, (std,) * 3)
