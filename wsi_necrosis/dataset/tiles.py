"""Labelled tiles, and splits that never share a case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.classes import CLASSES, NON_TUMOUR
from wsi_necrosis.dataset.faults import listed, refuse
from wsi_necrosis.dataset.labels import Truth
from wsi_necrosis.errors import DatasetError


@dataclass(frozen=True)
class LabelledTile:
    """One tile with its pathologist's label.

    Attributes
    ----------
    path : Path
        The picture.
    truth : tuple of float
        Probability of each class in the order of `classes.CLASSES`: 1 for one of them, or a half for both
        kinds of tumour.
    case, slide : str
        Patient, and slide within the patient. Slides of a case may share one image frame, so only cases are
        independent.
    x_l0, y_l0 : int
        Position on its slide in level-0 pixels; 0 where the source gives none.
    mpp : float
        Size of its pixels in um.
    sha256 : str
        Hash of the file.
    """

    path: Path
    truth: Truth
    case: str
    slide: str
    x_l0: int
    y_l0: int
    mpp: float
    sha256: str

    @property
    def label(self) -> int | None:
        """Its class, an index into `classes.CLASSES`; None for a mixed tile."""
        return self.truth.index(1.0) if 1.0 in self.truth else None

    @property
    def is_tumour(self) -> bool:
        """Whether it is tumour: viable, non-viable or mixed."""
        return self.truth[NON_TUMOUR] == 0


@dataclass(frozen=True)
class Fold:
    """Training and test tiles that share no case and no picture.

    Raises
    ------
    DatasetError
        They share one; figures from such a split would be too good.
    """

    train: tuple[LabelledTile, ...]
    test: tuple[LabelledTile, ...]

    def __post_init__(self) -> None:
        shared = {tile.case for tile in self.train} & {tile.case for tile in self.test}
        refuse(shared, "training and test tiles share", "split by case")
        hashes = {tile.sha256 for tile in self.train} & {tile.sha256 for tile in self.test}
        names = {tile.path.name for tile in self.train + self.test if tile.sha256 in hashes}
        refuse(names, "one picture stands under two cases:", "keep it under the one that it is of")


def cases_of(tiles: Iterable[LabelledTile]) -> tuple[str, ...]:
    """The cases of tiles, sorted."""
    return tuple(sorted({tile.case for tile in tiles}))


def leave_case_out(tiles: Sequence[LabelledTile]) -> tuple[Fold, ...]:
    """One fold per case, in the order of `cases_of`, with that case as the test.

    Raises
    ------
    DatasetError
        There are fewer than two cases, or two cases share a picture.
    """
    cases = cases_of(tiles)
    if len(cases) < 2:
        raise DatasetError(
            f"tiles come from {listed(cases) or 'no case'}; leaving a case out takes at least two"
        )
    return tuple(_without(tiles, case) for case in cases)


def inner_fold(tiles: Sequence[LabelledTile]) -> Fold | None:
    """Set one case of the training tiles aside for early stopping.

    A case can be spared if it holds tumour and the others still hold tiles of every class; a mixed tile is
    tumour, but of no class. The one with the fewest tiles is taken, by name among equals.

    Returns
    -------
    Fold or None
        With the spared case as the test; None if none can be spared.

    Raises
    ------
    DatasetError
        The case shares a picture with another.
    """
    by_size = sorted(cases_of(tiles), key=lambda case: sum(tile.case == case for tile in tiles))
    spared = next((case for case in by_size if _can_be_spared(tiles, case)), None)
    return None if spared is None else _without(tiles, spared)


def _can_be_spared(tiles: Sequence[LabelledTile], case: str) -> bool:
    kept = {tile.label for tile in tiles if tile.case != case}
    return kept >= set(range(len(CLASSES))) and any(tile.is_tumour for tile in tiles if tile.case == case)


def _without(tiles: Sequence[LabelledTile], case: str) -> Fold:
    return Fold(
        tuple(tile for tile in tiles if tile.case != case),
        tuple(tile for tile in tiles if tile.case == case),
    )
