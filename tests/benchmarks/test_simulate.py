"""The simulation keeps bounds that hold for any scheduler, and the page is written from measured costs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import simulate as scale
from benchmarks.simulate import Block, Site, Slide, simulate

SECONDS = st.floats(0.01, 10)
BLOCKS = st.builds(Block, st.floats(0, 100), SECONDS, SECONDS)
SLIDES = st.lists(
    st.builds(Slide, st.lists(BLOCKS, max_size=8), st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=5
)
SITES = st.builds(
    Site,
    nodes=st.integers(1, 3),
    cores=st.integers(1, 3),
    gpu=st.booleans(),
    window=st.integers(0, 4),
    clients=st.integers(1, 2),
    open_slides=st.integers(1, 3),
    tasks_per_s=st.sampled_from([math.inf, 2.0]),
    bytes_per_s=st.sampled_from([math.inf, 50.0]),
    start_s=st.floats(0, 5),
)
SITES_WITH_DEATHS = st.builds(
    Site,
    nodes=st.integers(1, 3),
    cores=st.integers(1, 2),
    gpu=st.booleans(),
    mean_life_s=st.floats(60, 200),
    restart_s=st.floats(0, 20),
)
ROUNDING = 1 + 1e-9


def blocks_of(slides: list[Slide]) -> list[Block]:
    return [block for slide in slides for block in slide.blocks]


def once(slides: list[Slide]) -> dict[tuple[int, int], int]:
    return {(s, b): 1 for s, slide in enumerate(slides) for b in range(len(slide.blocks))}


@given(SITES, SLIDES)
def test_no_resource_does_more_than_it_can(site: Site, slides: list[Slide]) -> None:
    found, blocks = simulate(site, slides), blocks_of(slides)
    assert found.scored_s * site.nodes * site.cores * ROUNDING >= sum(block.core_s for block in blocks)
    if site.gpu:
        assert found.scored_s * site.nodes * ROUNDING >= sum(block.gpu_s for block in blocks)
    assert found.scored_s * ROUNDING >= len(blocks) / site.tasks_per_s
    assert found.scored_s * ROUNDING >= sum(block.fetch_bytes for block in blocks) / site.bytes_per_s
    assert found.seconds * site.clients * ROUNDING >= sum(slide.prepare_s for slide in slides)
    assert all(0 <= share <= ROUNDING for share in found.busy.values()) or site.start_s


@given(SITES, SLIDES)
def test_no_slide_is_faster_than_its_longest_chain(site: Site, slides: list[Slide]) -> None:
    def chain(slide: Slide) -> float:
        alone = [
            1 / site.tasks_per_s + b.fetch_bytes / site.bytes_per_s + b.core_s + site.gpu * b.gpu_s
            for b in slide.blocks
        ]
        return slide.prepare_s + max(alone, default=0.0) + slide.finish_s

    assert simulate(site, slides).seconds * ROUNDING >= max(map(chain, slides))


@given(SITES, SLIDES)
def test_without_deaths_every_block_is_done_once_and_begun_once(site: Site, slides: list[Slide]) -> None:
    found = simulate(site, slides)
    assert found.done == once(slides)
    assert (found.started, found.deaths) == (len(blocks_of(slides)), 0)


@given(SITES_WITH_DEATHS, SLIDES, st.integers(0, 3))
def test_with_deaths_every_block_is_still_done_once(site: Site, slides: list[Slide], seed: int) -> None:
    found = simulate(site, slides, seed)
    assert found.done == once(slides)
    again = found.started - len(blocks_of(slides))
    assert 0 <= again <= found.deaths * 2 * site.cores
    assert found == simulate(site, slides, seed)


def test_a_node_that_dies_begins_its_blocks_again() -> None:
    slides = [Slide([Block(0, 10.0)] * 20)]
    found = simulate(Site(nodes=2, mean_life_s=40, restart_s=5), slides, seed=1)
    assert found.deaths > 0
    assert found.started > 20
    assert found.scored_s > simulate(Site(nodes=2), slides).scored_s


@given(st.lists(BLOCKS, min_size=1, max_size=30), st.integers(1, 6))
def test_more_nodes_are_never_slower_and_never_far_from_the_best(blocks: list[Block], nodes: int) -> None:
    few, more = (simulate(Site(nodes=n), [Slide(blocks)]).scored_s for n in (nodes, nodes + 1))
    assert more <= few * ROUNDING
    work, longest = sum(block.core_s for block in blocks), max(block.core_s for block in blocks)
    assert few <= (work / nodes + longest) * ROUNDING  # Graham's bound for a list of independent tasks


@given(st.integers(1, 40), st.integers(1, 4), SECONDS)
def test_equal_blocks_take_whole_turns(blocks: int, nodes: int, seconds: float) -> None:
    found = simulate(Site(nodes=nodes, start_s=3.0), [Slide([Block(0, seconds)] * blocks)])
    assert found.scored_s == pytest.approx(3.0 + math.ceil(blocks / nodes) * seconds)


def test_preparing_is_hidden_behind_scoring() -> None:
    slides = [Slide([Block(0, 1.0)] * 10, prepare_s=4.0)] * 5
    assert simulate(Site(open_slides=2), slides).scored_s == pytest.approx(4 + 5 * 10)
    assert simulate(Site(open_slides=1), slides).scored_s == pytest.approx(5 * (4 + 10))


def test_the_bottleneck_is_named() -> None:
    slides = [Slide([Block(10, 1.0, 1.0)] * 50)]
    assert simulate(Site(cores=2), slides).bottleneck == "cores"
    assert simulate(Site(cores=4, gpu=True), slides).bottleneck == "GPUs"
    assert simulate(Site(cores=4, bytes_per_s=10), slides).bottleneck == "storage"
    assert simulate(Site(cores=4, tasks_per_s=1), slides).bottleneck == "scheduler"


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "scale.md"
    page.write_text(f"before\n{scale.BEGIN}\nold\n{scale.END}\nafter\n")
    scale.write_section(page, "new")
    assert page.read_text() == f"before\n{scale.BEGIN}\n\nnew\n\n{scale.END}\nafter\n"


def test_the_shipped_page_has_the_tables_of_the_shipped_costs() -> None:
    costs = scale.Costs.read(scale.COSTS)
    text = scale.PAGE.read_text(encoding="utf-8")
    assert scale.cost_table(costs) in text
    assert scale.validation_table(costs) in text


def test_costs_of_a_block_add_up() -> None:
    costs = scale.Costs(json.loads(scale.COSTS.read_text()))
    on_cores, with_gpu = costs.block(64), costs.block(64, gpu_tiles_s=1000.0)
    assert on_cores.core_s - with_gpu.core_s == pytest.approx(64 * costs.tile["network_s"])
    assert with_gpu.gpu_s == pytest.approx(0.064)
    assert on_cores.fetch_bytes == 64 * costs.tile["read_bytes"]
