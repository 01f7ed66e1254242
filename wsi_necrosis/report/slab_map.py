"""Percent viable of each block, on the grid of the slab that the blocks were cut from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsi_necrosis.export.picture import heat_colours

LIGHT = 0.179  # relative luminance of a colour on which black and white text have equal contrast (WCAG 2)


@dataclass(frozen=True)
class SlabBlock:
    """A block at its place on a slab.

    Attributes
    ----------
    row, col : int
        Its place, from 0 on within the map.
    name : str
        The block, or the slide where the manifest names no block.
    percent : float or None
        Percent viable, the mean where several slides are of this block; None where none of them is evaluable.
    said : str
        The interval, or why there is no number.
    slides : int
        Slides of this block.
    """

    row: int
    col: int
    name: str
    percent: float | None
    said: str
    slides: int

    @property
    def colour(self) -> str:
        """Of its square: the colour scale of probabilities, from 0 to 100 %."""
        if self.percent is None:
            return "#e1e1e1"
        return "#" + bytes(self._rgb).hex()

    @property
    def ink(self) -> str:
        """Of the text on it."""
        linear = ((np.array(self._rgb) / 255 + 0.055) / 1.055) ** 2.4
        dark = self.percent is not None and linear @ [0.2126, 0.7152, 0.0722] < LIGHT
        return "#ffffff" if dark else "#000000"

    @property
    def _rgb(self) -> list[int]:
        return [int(part) for part in heat_colours((self.percent or 0) / 100)]


@dataclass(frozen=True)
class SlabMap:
    """A slab: its title, rows and columns with their own numbers, its blocks, and slides whose place is not known."""

    title: str
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    blocks: tuple[SlabBlock, ...]
    unplaced: tuple[str, ...]


def slab_maps(rows: Iterable[Mapping[str, Any]]) -> list[SlabMap]:
    """A map for each slab that a manifest names, in order of case and slab.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of `summary.csv`; those without a slab are left out.
    """
    slabs: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["slab"]:
            slabs[row["case"] or "", row["slab"]].append(row)
    return [_map(case, slab, found) for (case, slab), found in sorted(slabs.items())]


def _map(case: str, slab: str, rows: list[Mapping[str, Any]]) -> SlabMap:
    places: dict[tuple[int, int], list[Mapping[str, Any]]] = defaultdict(list)
    unplaced = []
    for row in rows:
        place = _place(row)
        if place is None:
            unplaced.append(str(row["slide_id"]))
        else:
            places[place].append(row)
    numbers = [sorted({place[k] for place in places}) for k in range(2)]
    rows_shown, cols_shown = (tuple(range(each[0], each[-1] + 1)) if each else () for each in numbers)
    blocks = [
        _block(row - rows_shown[0], col - cols_shown[0], found)
        for (row, col), found in sorted(places.items())
    ]
    title = f"{case}, slab {slab}" if case else f"Slab {slab}"
    return SlabMap(title, rows_shown, cols_shown, tuple(blocks), tuple(unplaced))


def _place(row: Mapping[str, Any]) -> tuple[int, int] | None:
    try:
        return int(row["slab_row"]), int(row["slab_col"])
    except (TypeError, ValueError):
        return None


def _block(row: int, col: int, slides: list[Mapping[str, Any]]) -> SlabBlock:
    names = dict.fromkeys(str(each["block"] or each["slide_id"]) for each in slides)
    known = [each for each in slides if each["status"] == "scored"]
    percent = sum(each["percent_viable"] for each in known) / len(known) if known else None
    if not known:
        said = str(slides[0]["reason"] or "").replace("_", " ")
    elif len(known) > 1:
        said = f"mean of {len(known)}"
    elif known[0]["ci_low"] is None:
        said = "no interval"
    else:
        said = f"{known[0]['ci_low']:.0f} to {known[0]['ci_high']:.0f}"
    return SlabBlock(row, col, ", ".join(names), percent, said, len(slides))
