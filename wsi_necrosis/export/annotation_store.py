"""`annotations.db`: each cell with its values in tiatoolbox's AnnotationStore, which TIAViz shows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import shapely

from wsi_necrosis.classes import TUMOUR_CLASSES
from wsi_necrosis.errors import MissingExtraError
from wsi_necrosis.export.tiles_geojson import cell_corners
from wsi_necrosis.files import atomic_write
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.labels import cell_class
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.slides.tiatoolbox_import import alone_and_quiet, class_of

MODULE, KIND = "annotation.storage", "annotation stores"
WAY_OUT = "export.formats annotation_store needs tiatoolbox; install it with: pip install 'wsi-necrosis[tiatoolbox]'"


def require_tiatoolbox() -> None:
    """Refuse where tiatoolbox is not installed.

    Raises
    ------
    MissingExtraError
        It is not.
    """
    if find_spec("tiatoolbox") is None:
        raise MissingExtraError(WAY_OUT)


def write_annotation_store(path: Path, scores: Scores, settings: QuantifySettings, fingerprint: str) -> None:
    """Write one annotation per scored or unreadable cell, in pixels of the whole level 0, as tiatoolbox reads slides.

    Parameters
    ----------
    path : Path
        The file to write; one that exists is replaced.
    scores : Scores
        The slide's scores.
    settings : QuantifySettings
        Under which cells are labelled.
    fingerprint : str
        Of the slide, for the annotations' keys.

    Raises
    ------
    MissingExtraError
        tiatoolbox is not installed.
    StoreError
        The file cannot be written.
    """
    require_tiatoolbox()
    annotation = class_of(MODULE, "Annotation", KIND)
    namespace, label = uuid5(NAMESPACE_OID, fingerprint), cell_class(scores, settings)
    where = np.argwhere(label > 0).tolist()
    plane = scores.grid.plane
    shift = np.array([plane.x_l0, plane.y_l0] * 2)
    with atomic_write(path, durable=False) as partial, alone_and_quiet():
        store = store_at(partial)
        cells = [
            annotation(
                shapely.box(*(cell_corners(scores, row, col) + shift)),
                _properties(scores, int(label[row, col]), row, col),
            )
            for row, col in where
        ]
        store.append_many(cells, [str(uuid5(namespace, f"tile:{row}.{col}")) for row, col in where])
        store.commit()
        store.close()


def store_at(path: Path) -> Any:
    """The store at a path, new or not; it is to be committed and closed."""

    class Store(class_of(MODULE, "SQLiteStore", KIND)):  # type: ignore[misc]  # a class of an extra
        """The store, also where Python's sqlite3 was built without extensions, which are not used.

        It is closed once: its destructor would close it again, and make the file anew for that.
        """

        is_closed = False

        def close(self) -> None:
            """Close the file."""
            if not self.is_closed:
                super().close()
                self.is_closed = True

        @staticmethod
        def compile_options() -> list[str]:
            """Options that SQLite was compiled with."""
            with closing(sqlite3.connect(":memory:")) as connection:
                return [option for (option,) in connection.execute("pragma compile_options")]

    return Store(path, auto_commit=False)


def _properties(scores: Scores, label: int, row: int, col: int) -> dict[str, Any]:
    values = {each.column: float(scores.prob[row, col, k]) for k, each in enumerate(TUMOUR_CLASSES)}
    values |= {"uncertainty": float(scores.uncertainty[row, col]), "ood": float(scores.ood[row, col])}
    known = {name: round(value, 4) for name, value in values.items() if np.isfinite(value)}
    return {"type": PALETTE[label].title, **known}
