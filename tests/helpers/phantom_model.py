"""Make `wsi_necrosis/weights/phantom/`: fixed weights by construction, for `wsi-necrosis demo` and tests.

    python -m tests.helpers.phantom_model

The backbone is set so that its pooled features are the mean red, green and blue of the tile, exactly:
a stem that averages 2 x 2 pixels without touching its padding, then shortcuts that average 2 x 2
pixels, all other paths zero. As the phantom's materials have affinely independent mean colours, two
affine functions tell them apart:

    tumour     glass 0, non-tumour -k, non-viable +k, viable +k
    viability  glass 0, non-tumour  0, non-viable -k, viable +k

Both are linear in the share of each material and odd about equal shares, so soft and hard areas along
straight borders are unbiased, and glass in a tile changes no class. The mean stain densities of the
materials lie almost on one line, so the radiomics branch reads viability alone, from haematoxylin: exact for
both kinds of tumour, and on the right side of 0 where tumour meets non-tumour. The gate is 0.5 / 0.5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.model.checkpoint import save_checkpoint
from wsi_necrosis.model.conversion import add_network
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.spec import SHIPPED, ModelSpec, TrainingData
from wsi_necrosis.model.standardise import Standardiser
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.radiomics.recipe import find_recipe
from wsi_necrosis.slides.phantom import GLASS, MATERIALS, phantom_tiles
from wsi_necrosis.tiling.foreground import foreground

STEEPNESS = 16.0  # logit of a pure tile; a tile of half glass has half of it
GATE = 0.5
TUMOUR = np.array([-1.0, 1.0, 1.0])  # by material, in the order of `classes.CLASSES`
VIABILITY = np.array([0.0, -1.0, 1.0])
COLOURS = 3


def phantom_spec() -> ModelSpec:
    """Description of the phantom model."""
    recipe = find_recipe("phantom")
    n = len(recipe.names)
    return ModelSpec(
        name="phantom",
        title="Fixed weights that read the phantom's materials from their mean colours",
        notice="phantom model, made for synthetic slides; its answers on real tissue mean nothing",
        backbone="test_byobnet",
        tile_px=32,
        mpp=1.0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        hidden=4,
        gate_hidden=1,
        dropout=0.0,
        recipe=recipe,
        standardise=Standardiser(recipe.names, (0.0,) * n, (1.0,) * n, 5.0),
        trained_on=TrainingData("weights set by hand, no data", "", "", "", (), 0),
    )


def phantom_network(spec: ModelSpec) -> Network:
    """The network with its weights set."""
    network = Network.of(spec).eval()
    with torch.no_grad():
        _average_colours(network)
        _read_materials(network)
    return network


def save_phantom_model(folder: Path) -> ModelSpec:
    """Write the checkpoint, with its converted network."""
    spec = phantom_spec()
    save_checkpoint(folder, spec, phantom_network(spec).tensors())
    return add_network(folder)


def _average_colours(network: Network) -> None:
    for name, tensor in network.backbone.body.state_dict().items():
        tensor.fill_(1 if name.endswith("running_var") else 0)
    body = network.backbone.body
    for colour in range(COLOURS):
        body.stem.conv.weight[colour, colour, 1:, 1:] = 0.25  # of 3 x 3: the four taps that miss the padding
        body.stem.bn.weight[colour] = 1
        for stage in body.stages:
            shortcut = stage[0].shortcut.conv  # after an average pool of 2 x 2
            shortcut.conv.weight[colour, colour] = 1
            shortcut.bn.weight[colour] = 1


def _read_materials(network: Network) -> None:
    """Both branches to (+tumour, -tumour, +viability, -viability), each through its ReLU."""
    for tensor in network.members[0].state_dict().values():
        tensor.fill_(0)
    classifier = network.members[0]
    linear, norm = classifier.image[0], classifier.image[1]
    norm.running_var.fill_(1)
    norm.weight.fill_(1)
    _set_pairs(linear, _image_functions())
    first, second = classifier.radiomics[0], classifier.radiomics[3]
    _set_pairs(first, _radiomics_functions())
    second.weight.copy_(torch.eye(4))
    for head, pair in ((classifier.heads[0].coarse, 0), (classifier.heads[0].fine, 2)):
        head.weight[:, pair : pair + 2] = torch.tensor([[-0.5, 0.5], [0.5, -0.5]])


def _set_pairs(linear: torch.nn.Linear, functions: NDArray[np.float64]) -> None:
    """Rows of `functions` (2, features + 1; the constant last) with both signs."""
    signed = torch.tensor(np.stack([functions[0], -functions[0], functions[1], -functions[1]]))
    linear.weight[:, : signed.shape[1] - 1] = signed[:, :-1]
    linear.bias.copy_(signed[:, -1])


def _image_functions() -> NDArray[np.float64]:
    """Exact for the four colours; tumour is this branch's alone, so it makes up for the gate."""
    colours = np.array([GLASS, *(MATERIALS[name] for name in CLASSES)]) / 255
    values = STEEPNESS * np.stack([np.r_[0, TUMOUR / GATE], np.r_[0, VIABILITY]], axis=1)
    return np.linalg.solve(np.c_[colours, np.ones(4)], values).T


def _radiomics_functions() -> NDArray[np.float64]:
    """Viability from mean haematoxylin, through both kinds of tumour; the other features weigh nothing."""
    non_viable, viable = _mean_haematoxylin("non_viable"), _mean_haematoxylin("viable")
    slope = 2 * STEEPNESS / (viable - non_viable)
    return np.array([[0.0, 0.0, 0.0, 0.0], [slope, 0.0, 0.0, -slope * (viable + non_viable) / 2]])


def _mean_haematoxylin(material: str) -> float:
    """Density of pure material; texture shifts it, so it is measured, to three digits."""
    recipe = find_recipe("phantom")
    tiles = phantom_tiles(material, 1, 512, np.random.default_rng(0))
    features, names = extract(tiles, foreground(tiles), recipe, mpp=1.0)
    return round(float(features[0, names.index("haematoxylin_tissue_firstorder_Mean")]), 3)


if __name__ == "__main__":
    save_phantom_model(SHIPPED / "phantom")
