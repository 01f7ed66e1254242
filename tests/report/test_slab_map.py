from typing import Any

from wsi_necrosis.report.slab_map import slab_maps


def row(slide: str, place: tuple[Any, Any], percent: float | None = None, **more: Any) -> dict[str, Any]:
    scored = percent is not None
    facts = {"case": "P", "block": slide[:2], "slab": "A", "ci_low": None, "ci_high": None, "reason": None}
    status = {"status": "scored" if scored else "not_evaluable", "percent_viable": percent}
    return {"slide_id": slide, "slab_row": place[0], "slab_col": place[1], **facts, **status, **more}


def test_blocks_lie_where_the_manifest_says() -> None:
    rows = [row("a1", ("3", "5"), 12.4, ci_low=3.0, ci_high=30.0), row("b1", ("4", "7"), 80.0)]
    (slab,) = slab_maps(rows)
    assert (slab.title, slab.rows, slab.cols) == ("P, slab A", (3, 4), (5, 6, 7))
    first, second = slab.blocks
    assert (first.row, first.col, first.percent, first.said) == (0, 0, 12.4, "3 to 30")
    assert (second.row, second.col, second.said) == (1, 2, "no interval")
    assert (first.ink, second.ink) == ("#000000", "#ffffff")  # on pale yellow, and on dark red


def test_recuts_of_a_block_are_averaged() -> None:
    rows = [row("a1", ("1", "1"), 10.0), row("a1 again", ("1", "1"), 20.0), row("a1 lost", ("1", "1"))]
    ((block,),) = (slab.blocks for slab in slab_maps(rows))
    assert (block.name, block.percent, block.said, block.slides) == ("a1", 15.0, "mean of 2", 3)


def test_a_block_without_a_number_says_why() -> None:
    ((block,),) = (slab.blocks for slab in slab_maps([row("a1", ("1", "1"), reason="too_little_tumour")]))
    assert (block.percent, block.said, block.colour) == (None, "too little tumour", "#e1e1e1")


def test_slides_without_a_place_or_a_slab_are_told_apart() -> None:
    rows = [row("a1", ("x", "1"), 5.0), row("b1", (None, None), 5.0), row("c1", ("1", "1"), 5.0, slab=None)]
    (slab,) = slab_maps(rows)
    assert (slab.blocks, slab.unplaced) == ((), ("a1", "b1"))
