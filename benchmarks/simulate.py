"""A discrete-event simulation of the block scheduler, and what many GPUs and slides would need.

    python benchmarks/simulate.py                # print the tables
    python benchmarks/simulate.py --write        # put them into docs/scale.md

Costs come from `unit_costs.json`, which `scaling.py --unit-costs` measures. The speed of a GPU is no measurement
but a parameter.

The model: a client prepares slides (open, find tissue) one after another and finishes them (measure, export), with
a few open at a time. Blocks of a prepared slide pass the scheduler one by one and wait, in order, for a free core.
With its core a block fetches its bytes from the shared storage, which serves one request after another, and computes;
then it waits for its node's GPU, if there is one. A node that dies loses what it holds: these blocks pass the
scheduler again, and the node comes back after a while.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import textwrap
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
COSTS = Path(__file__).with_name("unit_costs.json")
PAGE = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- written by benchmarks/simulate.py -->", "<!-- end -->"

Key = tuple[int, int]  # slide, block


@dataclass(frozen=True)
class Block:
    """What one block costs: bytes from storage, seconds of a core, seconds of a GPU."""

    fetch_bytes: float
    core_s: float
    gpu_s: float = 0.0


@dataclass(frozen=True)
class Slide:
    """What one slide costs: its blocks, and seconds of its client before and after them."""

    blocks: Sequence[Block]
    prepare_s: float = 0.0
    finish_s: float = 0.0


@dataclass(frozen=True)
class Site:
    """Resources of a site.

    Attributes
    ----------
    nodes, cores : int
        Worker processes, and blocks that each computes at once.
    gpu : bool
        Whether a node has a GPU; without one, a block ends on its core.
    window : int
        Blocks that a node holds at most, those that wait for its GPU included; 0 takes twice its cores.
    clients, open_slides : int
        Processes that prepare and finish slides, and slides that each has open at once.
    tasks_per_s, bytes_per_s : float
        What the scheduler and the storage serve.
    mean_life_s, restart_s : float
        Mean time to a node's death, exponentially distributed, and time until it is back.
    start_s : float
        Until the nodes are ready.
    """

    nodes: int = 1
    cores: int = 1
    gpu: bool = False
    window: int = 0
    clients: int = 1
    open_slides: int = 2
    tasks_per_s: float = math.inf
    bytes_per_s: float = math.inf
    mean_life_s: float = math.inf
    restart_s: float = 60.0
    start_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """The result of a simulation.

    Attributes
    ----------
    seconds, scored_s : float
        Until the last slide was finished, and until the last block was done.
    done : Counter
        Times that each (slide, block) was done.
    started, deaths : int
        Blocks that began on a node, those begun again included, and deaths of nodes.
    busy : dict
        Share of the whole time that each resource was busy.
    times : tuple of float
        When blocks were done, in order.
    """

    seconds: float
    scored_s: float
    done: Counter[Key]
    started: int
    deaths: int
    busy: dict[str, float]
    times: tuple[float, ...] = ()

    @property
    def blocks_per_s(self) -> float:
        """Blocks done per second while all is under way: over the middle half of them."""
        first, last = len(self.times) // 4, 3 * len(self.times) // 4
        return (last - first) / (self.times[last] - self.times[first])

    @property
    def bottleneck(self) -> str:
        """The resource that was busiest."""
        return max(self.busy, key=lambda name: self.busy[name])


@dataclass
class Server:
    """Serves one request after another at a rate."""

    rate: float = 1.0
    free_at: float = 0.0
    busy_s: float = 0.0

    def serve(self, now: float, amount: float) -> float:
        """When a request that comes now will have been served."""
        took = amount / self.rate
        self.free_at = max(now, self.free_at) + took
        self.busy_s += took
        return self.free_at


@dataclass
class Node:
    """A worker process; `life` counts its starts, since blocks begun before a restart are lost."""

    free: int = 0
    life: int = 0
    held: set[Key] = field(default_factory=set)
    gpu: Server = field(default_factory=Server)


@dataclass
class Client:
    """Prepares and finishes slides, each in a thread of its own."""

    preparing: Server = field(default_factory=Server)
    finishing: Server = field(default_factory=Server)


class Simulation:
    """The events of a site that scores slides; `run` gives the outcome."""

    def __init__(self, site: Site, slides: Sequence[Slide], rng: np.random.Generator) -> None:
        self.site, self.slides, self.rng = site, slides, rng
        self.window = site.window or 2 * site.cores
        self.scheduler, self.storage = Server(site.tasks_per_s), Server(site.bytes_per_s)
        self.nodes = [Node() for _ in range(site.nodes)]
        self.clients = [Client() for _ in range(site.clients)]
        self.now, self.scored_s, self.core_s = 0.0, 0.0, 0.0
        self.fresh = deque(range(len(slides)))
        self.waiting: deque[Key] = deque()
        self.left = [len(slide.blocks) for slide in slides]
        self.closed, self.started, self.deaths = 0, 0, 0
        self.done: Counter[Key] = Counter()
        self.times: list[float] = []
        self.client_of: dict[int, Client] = {}
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()

    def run(self) -> Outcome:
        """Run until every slide is finished."""
        for client in [client for _ in range(self.site.open_slides) for client in self.clients]:
            self._take_slide(client)
        for node in self.nodes:
            self._at(self.site.start_s, lambda node=node: self._wake(node))  # type: ignore[misc]
        while self.closed < len(self.slides):
            self.now, _, action = heapq.heappop(self.events)
            action()
        busy, times = self._busy(), tuple(self.times)
        return Outcome(self.now, self.scored_s, self.done, self.started, self.deaths, busy, times)

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), action))

    def _take_slide(self, client: Client) -> None:
        if self.fresh:
            number = self.fresh.popleft()
            ready = client.preparing.serve(self.now, self.slides[number].prepare_s)
            self._at(ready, lambda: self._offer(client, number))

    def _offer(self, client: Client, number: int) -> None:
        self.client_of[number] = client
        for block in range(self.left[number]):
            self._pass_scheduler((number, block))
        if not self.left[number]:
            self._finish(number)

    def _finish(self, number: int) -> None:
        client = self.client_of.pop(number)
        self._at(client.finishing.serve(self.now, self.slides[number].finish_s), lambda: self._close(client))

    def _close(self, client: Client) -> None:
        self.closed += 1
        self._take_slide(client)

    def _pass_scheduler(self, key: Key) -> None:
        self._at(self.scheduler.serve(self.now, 1), lambda: self._queue(key))

    def _queue(self, key: Key) -> None:
        self.waiting.append(key)
        self._fill(max(self.nodes, key=lambda node: node.free))

    def _fill(self, node: Node) -> None:
        while self.waiting and node.free and len(node.held) < self.window:
            self._start(node, self.waiting.popleft())

    def _start(self, node: Node, key: Key) -> None:
        block, life = self._block(key), node.life
        node.free -= 1
        node.held.add(key)
        self.started += 1
        fetched = self.storage.serve(self.now, block.fetch_bytes)
        self._at(fetched + block.core_s, lambda: self._computed(node, life, key))

    def _computed(self, node: Node, life: int, key: Key) -> None:
        if node.life != life:
            return
        node.free += 1
        self.core_s += self._block(key).core_s
        if self.site.gpu:
            over = node.gpu.serve(self.now, self._block(key).gpu_s)
            self._at(over, lambda: self._complete(node, life, key))
            self._fill(node)
        else:
            self._complete(node, life, key)

    def _complete(self, node: Node, life: int, key: Key) -> None:
        if node.life != life:
            return
        node.held.remove(key)
        self.done[key] += 1
        self.scored_s = self.now
        self.times.append(self.now)
        self.left[key[0]] -= 1
        if not self.left[key[0]]:
            self._finish(key[0])
        self._fill(node)

    def _wake(self, node: Node) -> None:
        node.free = self.site.cores
        if math.isfinite(self.site.mean_life_s):
            self._at(self.now + self.rng.exponential(self.site.mean_life_s), lambda: self._die(node))
        self._fill(node)

    def _die(self, node: Node) -> None:
        self.deaths += 1
        node.life += 1
        node.free, node.gpu.free_at = 0, self.now
        lost, node.held = sorted(node.held), set()
        for key in lost:
            self._pass_scheduler(key)
        self._at(self.now + self.site.restart_s, lambda: self._wake(node))

    def _block(self, key: Key) -> Block:
        return self.slides[key[0]].blocks[key[1]]

    def _busy(self) -> dict[str, float]:
        site, span = self.site, max(self.now, 1e-12)
        threads = [max(client.preparing.busy_s, client.finishing.busy_s) for client in self.clients]
        shares = {
            "cores": self.core_s / (site.nodes * site.cores),
            "GPUs": sum(node.gpu.busy_s for node in self.nodes) / site.nodes,
            "scheduler": self.scheduler.busy_s,
            "storage": self.storage.busy_s,
            "clients": sum(threads) / site.clients,
        }
        return {name: busy / span for name, busy in shares.items()}


def simulate(site: Site, slides: Sequence[Slide], seed: int = 0) -> Outcome:
    """Simulate a site that scores slides; the seed decides when nodes die."""
    return Simulation(site, slides, np.random.default_rng(seed)).run()


PLAN_TILES = 6000  # of a slide in the tables below: about 40,000 px at 0.5 um/px, most of it tissue
PLAN_SLIDES = 100_000
TILES_A_BLOCK = 64
GPU_TILES_S = (1_000, 3_000, 10_000)
GPUS = (1, 10, 100)
CORES_A_GPU = (4, 8, 16, 32)
PLAN_CORES = 16
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Costs:
    """Unit costs as `scaling.py` measured them."""

    tree: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Costs:
        return cls(json.loads(path.read_text(encoding="utf-8")))

    @property
    def tile(self) -> dict[str, float]:
        """Of one tile: `read_s`, `radiomics_s`, `network_s` of a core, `read_bytes`, `written_bytes`."""
        found: dict[str, float] = self.tree["per_tile"]
        return found

    def block(self, tiles: int, gpu_tiles_s: float | None = None) -> Block:
        """A block of that many tiles; its network runs on a GPU of that speed, or on the core."""
        tile, write = self.tile, self.tree["per_block"]["write_s"]
        core_s = tiles * (tile["read_s"] + tile["radiomics_s"]) + write
        if gpu_tiles_s is None:
            return Block(tiles * tile["read_bytes"], core_s + tiles * tile["network_s"])
        return Block(tiles * tile["read_bytes"], core_s, tiles / gpu_tiles_s)

    def measured_slide(self) -> Slide:
        """The slide that was measured, scored on cores, without its preparation and finish."""
        return Slide([self.block(tiles) for tiles in self.tree["slide"]["tiles_by_block"]])

    def plan_slide(self, block_tiles: int, gpu_tiles_s: float | None = None) -> Slide:
        """A slide of `PLAN_TILES`; finding tissue is taken as proportional to them, the exports as of fixed cost."""
        stage, share = self.tree["per_slide"], PLAN_TILES / sum(self.tree["slide"]["tiles_by_block"])
        whole, rest = divmod(PLAN_TILES, block_tiles)
        blocks = [block_tiles] * whole + [rest] * bool(rest)
        return Slide(
            [self.block(tiles, gpu_tiles_s) for tiles in blocks],
            prepare_s=stage["open_s"] + share * stage["tissue_s"],
            finish_s=stage["measure_s"] + stage["export_s"],
        )


def cost_table(costs: Costs) -> str:
    tile, stage = costs.tile, costs.tree["per_slide"]
    rows = [
        ("reading, ms of a core per tile", f"{1e3 * tile['read_s']:.2f}"),
        ("radiomics, ms of a core per tile", f"{1e3 * tile['radiomics_s']:.2f}"),
        ("network, ms of a core per tile", f"{1e3 * tile['network_s']:.2f}"),
        ("read from storage, kB per tile", f"{tile['read_bytes'] / 1e3:.1f}"),
        ("written, kB per tile", f"{tile['written_bytes'] / 1e3:.2f}"),
        ("writing a block, ms", f"{1e3 * costs.tree['per_block']['write_s']:.1f}"),
        ("opening and tissue of the slide, s", f"{stage['open_s'] + stage['tissue_s']:.1f}"),
        ("measuring and exporting it, s", f"{stage['measure_s'] + stage['export_s']:.1f}"),
        ("start of scoring (workers, model), s", f"{costs.tree['start_s']:.1f}"),
        ("tasks through one scheduler, per s", f"{costs.tree['scheduler_tasks_per_s']:.0f}"),
    ]
    return _table(("unit cost", "measured"), rows)


def validation_table(costs: Costs) -> str:
    """Seconds of scoring, measured and simulated from the parts by one thread alone."""
    rows = []
    for run in costs.tree["measured"]:
        site = Site(
            cores=run["workers"],
            start_s=costs.tree["start_s"],
            tasks_per_s=costs.tree["scheduler_tasks_per_s"],
        )
        seconds = simulate(site, [costs.measured_slide()]).scored_s
        error = 100 * (seconds / run["score_s"] - 1)
        rows.append((run["title"], f"{run['score_s']:.1f}", f"{seconds:.1f}", f"{error:+.0f} %"))
    return _table(("workers", "measured s", "simulated s", "error"), rows)


def with_enough_clients(site: Site, slide: Slide) -> Site:
    """The site with 25 % more clients than its scarcest resource (cores, scheduler or GPUs) can make use of."""
    blocks, held = len(slide.blocks), site.nodes * (site.window or 2 * site.cores)
    busiest = [
        site.nodes * site.cores / sum(block.core_s for block in slide.blocks),
        site.tasks_per_s / blocks,
    ]
    if site.gpu:
        busiest.append(site.nodes / sum(block.gpu_s for block in slide.blocks))
    slides_s = min(busiest)
    under_way = held / blocks + slides_s * (slide.prepare_s + slide.finish_s)
    needed = max(under_way / site.open_slides, slides_s * slide.prepare_s, slides_s * slide.finish_s)
    return replace(site, clients=math.ceil(1.25 * needed))


def plan(site: Site, slide: Slide, turns: int = 6) -> tuple[Site, Outcome, float]:
    """The site with enough clients, the outcome of `turns` slides for each client, and tiles per second."""
    site = with_enough_clients(site, slide)
    found = simulate(site, [slide] * max(12, turns * site.clients))
    return site, found, found.blocks_per_s * PLAN_TILES / len(slide.blocks)


def core_table(costs: Costs) -> str:
    """One GPU: what its cores let it do."""
    rows = []
    for cores in CORES_A_GPU:
        site = Site(cores=cores, gpu=True, tasks_per_s=costs.tree["scheduler_tasks_per_s"])
        plans = [plan(site, costs.plan_slide(TILES_A_BLOCK, speed)) for speed in GPU_TILES_S]
        rows.append((str(cores), *(f"{tiles_s:,.0f} ({found.bottleneck})" for _, found, tiles_s in plans)))
    return _table(("cores", *(f"GPU of {speed:,} tiles/s" for speed in GPU_TILES_S)), rows)


def gpu_table(costs: Costs, block_tiles: int) -> str:
    """1, 10 and 100 GPUs with `PLAN_CORES` cores each behind one scheduler."""
    rows = []
    for gpus in GPUS:
        for speed in GPU_TILES_S:
            wanted = Site(gpus, PLAN_CORES, gpu=True, tasks_per_s=costs.tree["scheduler_tasks_per_s"])
            site, found, tiles_s = plan(wanted, costs.plan_slide(block_tiles, speed))
            days = PLAN_SLIDES * PLAN_TILES / tiles_s / SECONDS_A_DAY
            rows.append((
                str(gpus), f"{speed:,}", f"{tiles_s:,.0f}", found.bottleneck, str(site.clients),
                f"{found.blocks_per_s:,.0f}", f"{tiles_s * costs.tile['read_bytes'] / 1e6:,.0f}", f"{days:,.1f}",
            ))  # fmt: skip
    heads = (
        "GPUs", "tiles/s of one", "tiles/s", "scarce", "clients", "tasks/s", "storage MB/s",
        f"days for {PLAN_SLIDES:,} slides",
    )  # fmt: skip
    return _table(heads, rows)


def storage_table(costs: Costs) -> str:
    """100 GPUs of the middle speed on storages of some bandwidths, the scheduler without a limit."""
    rows = []
    for mb_s in (100, 300, 1_000, 3_000, 10_000):
        site = Site(100, PLAN_CORES, gpu=True, bytes_per_s=1e6 * mb_s)
        _, found, tiles_s = plan(site, costs.plan_slide(4 * TILES_A_BLOCK, GPU_TILES_S[1]))
        rows.append((f"{mb_s:,}", f"{tiles_s:,.0f}", found.bottleneck))
    return _table(("storage MB/s", "tiles/s of 100 GPUs", "scarce"), rows)


def failure_table(costs: Costs) -> str:
    """10 GPUs of the middle speed whose worker processes die far more often than they should."""
    rows, healthy = [], 0.0
    for mean_life_s in (math.inf, 3600.0, 600.0, 120.0):
        site = Site(10, PLAN_CORES, gpu=True, mean_life_s=mean_life_s)
        _, found, tiles_s = plan(site, costs.plan_slide(TILES_A_BLOCK, GPU_TILES_S[1]), turns=60)
        healthy = healthy or tiles_s
        again = 100 * (found.started / len(found.done) - 1)
        life = "for ever" if math.isinf(mean_life_s) else f"{mean_life_s / 60:.0f} min"
        rows.append((life, str(found.deaths), f"{again:.2f} %", f"{100 * tiles_s / healthy:.0f} %"))
    return _table(("a worker lives, mean", "deaths in the run", "blocks begun again", "speed"), rows)


def disk_line(costs: Costs) -> str:
    tile = costs.tile
    written = PLAN_SLIDES * PLAN_TILES * tile["written_bytes"] / 1e12
    read = PLAN_SLIDES * PLAN_TILES * tile["read_bytes"] / 1e12
    return (
        f"{PLAN_SLIDES:,} slides of {PLAN_TILES:,} tiles: {read:,.0f} TB read, {written:.1f} TB of results, "
        f"{PLAN_SLIDES * math.ceil(PLAN_TILES / TILES_A_BLOCK) / 1e6:.1f} million blocks of {TILES_A_BLOCK} tiles."
    )


def section(costs: Costs) -> str:
    """All tables, as they stand in docs/scale.md."""
    parts = [
        textwrap.fill(f"Unit costs, measured: {costs.tree['stamp']}.", 118, break_on_hyphens=False),
        cost_table(costs),
        "The simulation beside the measured runs of that slide:",
        validation_table(costs),
        disk_line(costs),
        "One GPU, tiles per second and what is scarce, by cores per GPU:",
        core_table(costs),
        f"{PLAN_CORES} cores per GPU, one scheduler, blocks of {TILES_A_BLOCK} tiles:",
        gpu_table(costs, TILES_A_BLOCK),
        f"The same with blocks of {4 * TILES_A_BLOCK} tiles:",
        gpu_table(costs, 4 * TILES_A_BLOCK),
        f"100 GPUs of {GPU_TILES_S[1]:,} tiles/s on one storage, the scheduler not counted:",
        storage_table(costs),
        f"10 GPUs of {GPU_TILES_S[1]:,} tiles/s whose worker processes die and are back after a minute:",
        failure_table(costs),
    ]
    return "\n\n".join(parts)


def write_section(page: Path, text: str) -> None:
    """Replace what lies between the page's marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page} lacks {BEGIN} and {END}; put them where the tables belong")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--costs", type=Path, default=COSTS)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    text = section(Costs.read(arguments.costs))
    if arguments.write:
        write_section(PAGE, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
