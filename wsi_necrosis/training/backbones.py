"""The initial weights of a backbone: from a package, random, or from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from wsi_necrosis.errors import ModelError, UsageError
from wsi_necrosis.memory import keep_freed_memory
from wsi_necrosis.model.network import Backbone, backbone_input
from wsi_necrosis.model.spec import PICKLES
from wsi_necrosis.settings.train import NetworkSettings
from wsi_necrosis.training.weight_packages import PACKAGES, packaged_tensors

Colour = tuple[float, float, float]
HEADS = ("classifier.", "head.fc.", "fc.", "head.")  # prefixes of the tensors of a classification head


def initial_backbone(settings: NetworkSettings, seed: int) -> Backbone:
    """The backbone with its initial weights, in evaluation mode.

    Parameters
    ----------
    settings : NetworkSettings
        `initial` is `package` (see `weight_packages`), `random`, or the path of a safetensors file with the
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
    if settings.initial == "package":
        backbone.body.load_state_dict(packaged_tensors(settings.backbone, backbone.body.state_dict()))
    elif settings.initial != "random":
        backbone.body.load_state_dict(_from_file(Path(settings.initial), backbone, settings.backbone))
    return backbone.eval()


def input_of(settings: NetworkSettings) -> tuple[Colour, Colour]:
    """Mean and std of the backbone's input: those of the settings, else of the package of weights, else of timm."""
    if settings.mean is not None and settings.std is not None:
        return settings.mean, settings.std
    if settings.initial == "package" and settings.backbone in PACKAGES:
        package = PACKAGES[settings.backbone]
        mean, std = package.mean, package.std
    else:
        mean, std = backbone_input(settings.backbone)
    return settings.mean or mean, settings.std or std


def _from_file(path: Path, backbone: Backbone, name: str) -> dict[str, Tensor]:
    if path.suffix.lower() in PICKLES:
        raise ModelError(
            f"network.initial {path} is a pickle, which can run code when it is read; convert it to safetensors"
        )
    if path.suffix.lower() != ".safetensors":
        raise UsageError(f"network.initial {str(path)!r} is none of package, random, or a .safetensors file")
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
