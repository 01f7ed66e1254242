"""Which tiles a model knows from its training; figures on those are too good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsi_necrosis.dataset.faults import listed
from wsi_necrosis.dataset.looks import alike
from wsi_necrosis.dataset.tiles import LabelledTile, cases_of
from wsi_necrosis.errors import DatasetError, UsageError
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.training.held_out import PICTURE_DIGITS


@dataclass(frozen=True)
class Familiarity:
    """What a model knows of tiles.

    Attributes
    ----------
    trained : bool
        They are just the tiles that it was trained on, under the same cases.
    cases : tuple of str
        Otherwise those of their cases that it was trained on; it has seen none of the pictures.
    """

    trained: bool
    cases: tuple[str, ...] = ()


def familiarity(spec: ModelSpec, tiles: Sequence[LabelledTile], *, within_case: bool = False) -> Familiarity:
    """What a model knows of these tiles; refuse those that give figures which are too good.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    tiles : sequence of LabelledTile
        The tiles.
    within_case : bool
        Accept other tiles of cases that the model was trained on.

    Raises
    ------
    DatasetError
        Some of the pictures, but not all, were in the training, perhaps saved anew, turned or mirrored; or all were,
        under other cases; or cases were, and `within_case` is not given.
    UsageError
        `within_case` is given for the training tiles.
    """
    pictures = {tile.sha256[:PICTURE_DIGITS] for tile in tiles}
    trained, cases = set(spec.trained_on.pictures), cases_of(tiles)
    shared_cases = tuple(case for case in cases if case in spec.trained_on.cases)
    if pictures == trained:
        _require_same_cases(spec, cases)
        if within_case:
            raise UsageError(
                "--within-case: these are the training tiles, whose cases are left out in turn; leave it out"
            )
        return Familiarity(trained=True)
    _refuse_pictures(spec, tiles, pictures & trained)
    if shared_cases and not within_case:
        raise DatasetError(
            f"0 of {len(pictures)} tiles were in the training of {spec.name!r}, but other tiles of their cases "
            f"{', '.join(shared_cases)} were; figures on them would be too good: give tiles of other cases, or "
            "--within-case to see them all the same, marked so"
        )
    return Familiarity(trained=False, cases=shared_cases)


def _require_same_cases(spec: ModelSpec, cases: tuple[str, ...]) -> None:
    if cases != spec.trained_on.cases:
        raise DatasetError(
            f"these are the training tiles of {spec.name!r} under other cases ({', '.join(cases)}, not "
            f"{', '.join(spec.trained_on.cases)}); leave them under the cases that it was trained with"
        )


def _refuse_pictures(spec: ModelSpec, tiles: Sequence[LabelledTile], same: set[str]) -> None:
    """Refuse pictures of the training, byte for byte or as they look."""
    way_out = f"give other tiles, or just the {spec.trained_on.n_tiles} training tiles to leave their cases out in turn"
    if same:
        raise DatasetError(
            f"{len(same)} of {len(tiles)} tiles were in the training of {spec.name!r}; figures on them would be too "
            f"good: {way_out}"
        )
    lookalikes = alike(tiles, spec.trained_on.looks)
    if lookalikes:
        raise DatasetError(
            f"{len(lookalikes)} of {len(tiles)} tiles look like training tiles of {spec.name!r} that were saved anew, "
            f"turned or mirrored: {listed(tile.path.name for tile in lookalikes)}; {way_out}"
        )
