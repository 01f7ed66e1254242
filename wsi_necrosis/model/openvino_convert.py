"""Convert a network from torch to OpenVINO: a graph over the weights of its checkpoint."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import torch
from torch import nn

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.checkpoint import Tensors
from wsi_necrosis.model.openvino_runner import ALIGNMENT, openvino, weight_bytes
from wsi_necrosis.model.spec import CONSTANTS_FILE, GRAPH_FILE

GRAPH_NAME = "network"
EXAMPLE_TILES = 2  # more than one, so that the batch size is not traced as a constant


def write_network(network: nn.Module, tensors: Tensors, folder: Path, tile_px: int, features: int) -> None:
    """Convert a network from torch, and write it for `OpenVinoRunner`; it takes any number of tiles.

    No layer is fused with another, so that no number is rounded: every constant that float16 holds exactly is float16
    in the graph, and one that is a tensor of the checkpoint is read from there and not written again. The same network
    gives the same bytes.

    Parameters
    ----------
    network : torch.nn.Module
        From uint8 tiles (n, tile_px, tile_px, 3) and float32 z-scores (n, features) to probabilities (n, 3) and
        gate weights (n, 2).
    tensors : mapping
        Its weights as the checkpoint stores them, in float16.
    folder : Path
        Receives the files.

    Raises
    ------
    ModelError
        OpenVINO cannot convert it.
    """
    try:
        model = _converted(network, tile_px, features)
    except Exception as error:  # the converter raises errors of many types
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"OpenVINO cannot convert this model ({type(error).__name__}: {reason}); give --set model.backend=torch"
        ) from error
    _store_in_float16(model)
    model.set_friendly_name(GRAPH_NAME)  # else names count on from the last conversion
    for at, node in enumerate(model.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{at}")
    openvino().save_model(model, folder / GRAPH_FILE, compress_to_fp16=False)
    _share_weights(folder, tensors)


def _converted(network: nn.Module, tile_px: int, features: int) -> Any:
    """OpenVINO's model, layer by layer as in torch: `openvino.convert_model` would fuse them."""
    openvino()  # before its parts, which would import its telemetry
    from openvino.frontend import FrontEndManager  # an optional dependency
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.passes import ConstantFolding, Manager

    tiles = torch.zeros(EXAMPLE_TILES, tile_px, tile_px, 3, dtype=torch.uint8)
    z = torch.zeros(EXAMPLE_TILES, features)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes traced as constants; `backend_check` tests the result
        traced = torch.jit.trace(network, (tiles, z), check_trace=False)  # type: ignore[no-untyped-call]
        frontend = FrontEndManager().load_by_framework("pytorch")
        # Named, as OpenVINO does not keep it alive; constants are copied, as they outlive it.
        decoder = TorchScriptPythonDecoder(traced, example_input=(tiles, z), shared_memory=False)
        model = frontend.convert(frontend.load(decoder))
    model.reshape({0: [-1, *tiles.shape[1:]], 1: [-1, features]})
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    return model


def _store_in_float16(model: Any) -> None:
    """Replace constants in float32 that float16 holds exactly; OpenVINO widens them when it compiles the network."""
    from openvino import Type, opset13  # as in `_converted`

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != Type.f32:
            continue
        with np.errstate(over="ignore"):  # an overflow becomes infinite, and differs
            half = node.data.astype(np.float16)
        if not np.array_equal(half, node.data):
            continue
        wide = opset13.convert(opset13.constant(half), "f32").output(0)
        for use in list(node.output(0).get_target_inputs()):
            use.replace_source_output(wide)


def _share_weights(folder: Path, tensors: Tensors) -> None:
    """Point the graph's constants into the checkpoint's weights where these hold the same numbers; keep the rest.

    Offsets count on from the end of `weight_bytes` into the file of constants.
    """
    graph = ET.parse(folder / GRAPH_FILE)  # noqa: S314  # written just now by OpenVINO
    constants = (folder / CONSTANTS_FILE).read_bytes()
    places: dict[bytes, int] = {}
    end = 0
    for name in sorted(tensors):
        places.setdefault(tensors[name].tobytes(), end)
        end += tensors[name].nbytes
    end, kept = len(weight_bytes(tensors)), bytearray()
    for data in graph.iterfind(".//layer[@type='Const']/data"):
        start, size = int(data.attrib["offset"]), int(data.attrib["size"])
        content = constants[start : start + size]
        place = places.get(content) if data.attrib["element_type"] == "f16" else None
        if place is None:
            kept += bytes(-len(kept) % ALIGNMENT)
            place = end + len(kept)
            kept += content
        data.set("offset", str(place))
    graph.write(folder / GRAPH_FILE)
    (folder / CONSTANTS_FILE).write_bytes(kept)
