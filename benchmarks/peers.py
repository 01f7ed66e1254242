"""This project beside tiatoolbox's patch engine and a level-0 loader: same backbone, weights and tiles.

    python benchmarks/peers.py --cells 40 --repeats 3 --out peers.json

Every contestant runs in a fresh process, in turn, `--repeats` times, every other round backwards. A ratio is the
median over rounds of the ratio within a round. Needs the extra [tiatoolbox] and the data folder
(WSI_NECROSIS_DATA, else ../shared/data). Prints tables for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from children import measure
from plain_model import plain_model
from slides import SCRATCH, Montage, kept_montage, stamp

OWN, OWN_RADIOMICS = "own", "own-radiomics"
KEEP = "--keep-memory"
LOADERS = (0, 2)
TOOLS = (
    ("tiatoolbox", f"tiatoolbox {version('tiatoolbox')} patch engine", "engine_run.py"),
    ("level0", "level-0 loader", "level0_run.py"),
)
Facts = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """A tool with its options: its name, its title in the table, and the script that runs it."""

    name: str
    title: str
    script: str
    options: tuple[str, ...] = ()
    group: str = ""  # contestants of a group are one tool with other settings; its best one counts


def contestants() -> list[Contestant]:
    """This project without and with radiomics, and the peers: as installed and with memory kept, 0 and 2 loaders."""
    found = [
        Contestant(OWN, "this project, no radiomics", "own_run.py"),
        Contestant(OWN_RADIOMICS, "this project, default model (recipe fast)", "own_run.py"),
    ]
    for tool, title, script in TOOLS:
        for group, more, options in ((tool, "as it comes", ()), (f"{tool}-kept", "memory kept", (KEEP,))):
            found += [
                Contestant(f"{group}-{loaders}", f"{title}, {more}, {loaders} loaders", script,
                           ("--loaders", str(loaders), *options), group)
                for loaders in LOADERS
            ]  # fmt: skip
    return found


@dataclass(frozen=True)
class Workload:
    """The slide, model and settings that all contestants run on."""

    slide: Montage
    model: Path
    folder: Path
    overrides: tuple[str, ...]

    @property
    def plan(self) -> Path:
        """Cells and probabilities of the latest run without radiomics."""
        return self.folder / OWN / "slides" / self.slide.path.name / "plan.npz"

    def start(self, contestant: Contestant) -> Facts:
        """One measured run."""
        if contestant.script == "own_run.py":
            model = self.model if contestant.name == OWN else "default"
            options = [
                word for given in (f"model.name={model}", *self.overrides) for word in ("--set", given)
            ]
            return measure("own_run.py", self.slide.path, self.folder / contestant.name, *options)
        return measure(contestant.script, self.slide.path, self.model, self.plan, *contestant.options)


def run_rounds(workload: Workload, chosen: list[Contestant], repeats: int) -> dict[str, list[Facts]]:
    """Facts of every round by contestant; every other round is run backwards."""
    found: dict[str, list[Facts]] = {contestant.name: [] for contestant in chosen}
    if not workload.plan.exists():
        workload.start(contestants()[0])  # the tile plan of all; this run is not counted
    for round_ in range(repeats):
        for contestant in chosen[:: -1 if round_ % 2 else 1]:
            facts = workload.start(contestant)
            facts["tiles_per_s"] = facts["tiles"] / facts["score_s"]
            facts["agreement"] = agreement(workload.plan, Path(facts["plan"]))
            found[contestant.name].append(facts)
            print(f"round {round_ + 1}: {contestant.name} {facts['tiles_per_s']:.1f} tiles/s", flush=True)
    return found


def agreement(ours: Path, theirs: Path) -> Facts:
    """Tiles that both have scored, and how far their probabilities of a class differ there."""
    mine, other = np.load(ours), np.load(theirs)
    cells = [
        {(r, c): k for k, (r, c) in enumerate(zip(x["row"], x["col"], strict=True))} for x in (mine, other)
    ]
    both = sorted(cells[0].keys() & cells[1].keys())
    picks = [[index[cell] for cell in both] for index in cells]
    gap = np.abs(mine["prob"][picks[0]] - other["prob"][picks[1]])
    return {"tiles": len(both), "mean": float(gap.mean()), "largest": float(gap.max())}


def middle(rounds: list[Facts], name: str) -> float:
    return float(statistics.median(facts[name] for facts in rounds))


def best(found: dict[str, list[Facts]], chosen: list[Contestant]) -> dict[str, str]:
    """The faster contestant of each group."""
    groups: dict[str, str] = {}
    for contestant in chosen:
        if contestant.group:
            other = groups.get(contestant.group, contestant.name)
            groups[contestant.group] = max(
                other, contestant.name, key=lambda name: middle(found[name], "tiles_per_s")
            )
    return groups


def speed_table(found: dict[str, list[Facts]], chosen: list[Contestant]) -> str:
    rows = [
        "| contestant | tiles | tiles/s | scoring s | import s | model s | total s | peak MB |",
        "|---" * 8 + "|",
    ]
    for contestant in chosen:
        get = _of(found[contestant.name])
        rows.append(
            f"| {contestant.title} | {get('tiles'):.0f} | {get('tiles_per_s'):.1f} | {get('score_s'):.1f} | "
            f"{get('import_s'):.1f} | {get('model_s'):.1f} | {get('total_s'):.1f} | {get('peak_mb'):.0f} |"
        )
    return "\n".join(rows)


def ratio_table(found: dict[str, list[Facts]], chosen: list[Contestant]) -> str:
    """Our tiles/s over each tool's, its faster number of loaders taken; medians of ratios within a round."""
    titles = {contestant.name: contestant.title for contestant in chosen}
    groups = best(found, chosen)
    ours = [name for name in (OWN, OWN_RADIOMICS) if name in found]
    rows = [
        f"| times as fast as | {' | '.join(titles[name] for name in ours)} |",
        "|---" * (1 + len(ours)) + "|",
    ]
    for peer in groups.values():
        cells = []
        for name in ours:
            ratios = sorted(
                mine["tiles_per_s"] / theirs["tiles_per_s"]
                for mine, theirs in zip(found[name], found[peer], strict=True)
            )
            cells.append(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        rows.append(f"| {titles[peer]} | {' | '.join(cells)} |")
    return "\n".join(rows)


def agreement_table(found: dict[str, list[Facts]], chosen: list[Contestant]) -> str:
    """Differences of a class's probability: over all tiles, and of the network alone where pixels are the same."""
    rows = [
        "| against this project, no radiomics | tiles of both | mean | largest | largest, same pixels |",
        "|---" * 5 + "|",
    ]
    for contestant in chosen:
        if contestant.group:
            facts = found[contestant.name][-1]
            both = facts["agreement"]
            rows.append(
                f"| {contestant.title} | {both['tiles']} | {both['mean']:.4f} | {both['largest']:.3f} | "
                f"{facts['network_gap']:.1e} |"
            )
    return "\n".join(rows)


def _of(rounds: list[Facts]) -> Callable[[str], float]:
    return lambda name: middle(rounds, name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=[one.name for one in contestants()], help="run these alone"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=V", help="settings of this project"
    )
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="where slides are kept")
    parser.add_argument("--out", type=Path, help="JSON of every run")
    arguments = parser.parse_args()
    chosen = [one for one in contestants() if not arguments.only or one.name in arguments.only]
    slide = kept_montage(arguments.scratch, arguments.cells)
    with tempfile.TemporaryDirectory() as folder:
        model = plain_model(Path(folder) / "plain")
        found = run_rounds(
            Workload(slide, model, Path(folder), tuple(arguments.set)), chosen, arguments.repeats
        )
    print(f"\n{stamp()}: {slide.side_px} px montage, medians of {arguments.repeats} rounds\n")
    for table in (speed_table, ratio_table, agreement_table):
        print(table(found, chosen), end="\n\n")
    if arguments.out:
        arguments.out.write_text(json.dumps({"stamp": stamp(), "runs": found}, indent=1))


if __name__ == "__main__":
    main()
