"""What the runs of both other tools (peers) share: arguments, the network as plain torch, and their report."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from wsi_necrosis.inference.stats import WorkerStats
from wsi_necrosis.memory import keep_freed_memory
from wsi_necrosis.model.checkpoint import load_tensors
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.spec import ModelSpec, load_spec

SAME_PIXELS = 32  # so many tiles' pixels, as the peer reads them, are also given to this project's network


@dataclass
class Entry:
    """Arguments of a peer, and its seconds by stage."""

    slide: Path
    model: Path
    plan: Path
    loaders: int
    stats: WorkerStats = field(default_factory=WorkerStats)

    @property
    def spec(self) -> ModelSpec:
        return load_spec(self.model)


def enter(text: str | None) -> Entry:
    """Read the command line; called after all imports, since it takes the time that they took."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("slide", type=Path)
    parser.add_argument("model", type=Path, help="a checkpoint folder without radiomics")
    parser.add_argument("plan", type=Path, help="npz with row and col of the tiles")
    parser.add_argument("--loaders", type=int, default=0, help="processes of the DataLoader")
    parser.add_argument("--keep-memory", action="store_true", help="tell glibc to keep freed memory")
    parser.add_argument("--started", type=float, default=time.time())
    arguments = parser.parse_args()
    if arguments.keep_memory:
        keep_freed_memory()
    entry = Entry(arguments.slide, arguments.model, arguments.plan, arguments.loaders)
    entry.stats.seconds["import"] = time.time() - arguments.started
    return entry


def load_network(folder: Path) -> Network:
    """The network of a checkpoint, in plain torch and float32."""
    spec = load_spec(folder)
    network = Network.of(spec).eval()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in load_tensors(folder, spec).items()})
    return network


def peer_prob(network: Network, scaled: torch.Tensor) -> torch.Tensor:
    """Probabilities (n, 3), not calibrated as in a run, of tiles (n, 3, side, side) in [0, 1]."""
    backbone = network.backbone
    assert backbone is not None  # noqa: S101  # the plain model has one
    pooled = backbone.body((scaled - backbone.mean) / backbone.std)
    answers = [member(pooled, pooled[:, :0]).prob() for member in network.members]
    return torch.stack(answers).mean(dim=0)


def report(entry: Entry, cells: np.ndarray, prob: np.ndarray, few: list[np.ndarray]) -> None:
    """Print JSON; `cells` (n, 2) and `prob` (n, 3) go to a file, `few` are the pixels of the first few tiles.

    `network_gap` is the largest difference from this project's probabilities of the same pixels.
    """
    own = load_model(entry.model).predict(np.stack(few), np.empty((len(few), 0))).prob
    answer = entry.plan.with_name(f"peer-{time.time_ns()}.npz")
    np.savez(answer, row=cells[:, 0], col=cells[:, 1], prob=prob)
    seconds = {f"{name}_s": round(took, 2) for name, took in entry.stats.seconds.items()}
    gap = float(np.abs(own - prob[: len(few)]).max())
    print(json.dumps(seconds | {"tiles": len(cells), "plan": str(answer), "network_gap": gap}))
