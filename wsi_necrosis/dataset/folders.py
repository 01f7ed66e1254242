"""Tiles sorted into folders: CASE/LABEL/picture."""

from __future__ import annotations

from pathlib import Path

from wsi_necrosis.dataset.entries import Entry, pictures_below
from wsi_necrosis.dataset.faults import refuse


def read_folders(folder: Path) -> tuple[Entry, ...]:
    """Pictures with the case and label that their folders name, sorted by path.

    Raises
    ------
    DatasetError
        A picture does not lie in a folder CASE/LABEL.
    """
    places = [(path, path.relative_to(folder)) for path in pictures_below(folder)]
    misplaced = (str(place) for _, place in places if len(place.parts) != 3)
    refuse(
        misplaced, f"{folder} holds pictures that lie not in CASE/LABEL:", "move them, or give a labels.csv"
    )
    return tuple(Entry(str(place), path, place.parts[1], place.parts[0]) for path, place in places)
