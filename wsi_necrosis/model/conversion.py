"""Add to a checkpoint its network as OpenVINO runs it, with torch's answers, so that a processor needs no torch."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.backend import Backend, require_backend
from wsi_necrosis.model.backend_check import TOLERANCE, answers
from wsi_necrosis.model.checkpoint import load_tensors, write_files
from wsi_necrosis.model.openvino_convert import write_network
from wsi_necrosis.model.openvino_runner import OpenVinoRunner
from wsi_necrosis.model.spec import NETWORK_FILES, ConvertedNetwork, ModelSpec, load_spec, model_folder
from wsi_necrosis.model.torch_runner import TorchRunner, build_network
from wsi_necrosis.provenance import versions_of

OPENVINO = Backend("openvino", "cpu", "float32")
MADE_WITH = ("wsi-necrosis", "openvino", "torch", "timm")


def add_network(name_or_folder: str | Path) -> ModelSpec:
    """Convert a checkpoint's network, and store it with torch's answers on the fixed tiles; one that is there goes.

    Returns
    -------
    ModelSpec
        The new description. Its fingerprint differs from the old one, since scores may differ in their last bits.

    Raises
    ------
    ModelError
        The checkpoint is damaged, OpenVINO cannot convert its network, or the converted one answers otherwise.
    MissingExtraError
        OpenVINO is not installed.
    """
    require_backend(OPENVINO)
    spec = load_spec(name_or_folder)
    tensors = load_tensors(name_or_folder, spec)
    network = build_network(spec, tensors)
    expected = answers(spec, TorchRunner(network))
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_network(network, tensors, folder, spec.tile_px, len(spec.feature_names))
        found = answers(spec, OpenVinoRunner(folder, tensors, OPENVINO.dtype))
        files = {name: (folder / name).read_bytes() for name in NETWORK_FILES}
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE[OPENVINO.dtype]:
        raise ModelError(
            f"converted by OpenVINO, model {spec.name!r} changes probabilities by up to {difference:.2g}, more than "
            f"the {TOLERANCE[OPENVINO.dtype]:g} that is allowed; it is left without a converted network"
        )
    converted = ConvertedNetwork(
        sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        answers=tuple((a, b, c) for a, b, c in expected.tolist()),
        made_with=versions_of(MADE_WITH),
    )
    spec = replace(spec, converted=converted)
    write_files(model_folder(name_or_folder), files, spec)
    return spec
