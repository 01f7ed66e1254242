"""`heatmap.ome.tiff`: the probability of viable tumour in colours, and all channels as numbers, a pixel per cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import VIABLE
from wsi_necrosis.export.picture import WHITE, heat_colours
from wsi_necrosis.files import atomic_write
from wsi_necrosis.quantify.heatmap import CHANNELS, Heatmap, Level, pyramid

TILE_PX = 256
UM_PER_CM = 1e4


def write_ome_tiff(path: Path, heatmap: Heatmap, name: str, fingerprint: str) -> None:
    """Write a pyramidal OME-TIFF of two images, both with a pixel per cell.

    The first shows the probability of viable tumour in the overlay's colours, white outside scored tissue: this is what
    programs for slides show. The second holds `heatmap.CHANNELS` as float32, NaN outside scored tissue.

    Parameters
    ----------
    path : Path
        The file to write; one that exists is replaced.
    heatmap : Heatmap
        What to write.
    name : str
        Name of the images, for viewers.
    fingerprint : str
        Of the slide: it makes the identifier of the file, so that two runs give the same bytes.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    import tifffile  # only here, as it is no part of the usual files

    levels = pyramid(heatmap)
    images: dict[str, tuple[list[NDArray[Any]], dict[str, Any]]] = {
        "viable": ([_coloured(level) for level in levels], {"photometric": "rgb", "axes": "YXS"}),
        "probabilities": ([level.channels for level in levels], {"photometric": "minisblack", "axes": "CYX"}),
    }
    with (
        atomic_write(path, durable=False) as partial,
        tifffile.TiffWriter(partial, ome=True, bigtiff=False) as file,
    ):
        for title, (pixels, form) in images.items():
            form["UUID"] = f"urn:uuid:{uuid5(NAMESPACE_OID, f'{fingerprint} heatmap')}"
            _write(file, pixels, form, heatmap.cell_um, f"{name}, {title}")


def _write(
    file: Any, levels: Sequence[NDArray[Any]], form: dict[str, Any], cell_um: tuple[float, float], name: str
) -> None:
    """Write an image: its first level, and the others as its SubIFDs."""
    x_um, y_um = cell_um
    facts: dict[str, Any] = {
        "axes": form["axes"],
        "UUID": form["UUID"],
        "Name": name,
        "PhysicalSizeX": x_um,
        "PhysicalSizeY": y_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm",
    }
    if form["axes"] == "CYX":
        facts["Channel"] = {"Name": list(CHANNELS)}
    for k, pixels in enumerate(levels):
        file.write(
            pixels,
            photometric=form["photometric"],
            tile=(TILE_PX, TILE_PX),
            compression="zlib",
            resolution=(UM_PER_CM / (x_um * 2**k), UM_PER_CM / (y_um * 2**k)),
            resolutionunit="CENTIMETER",
            software="wsi-necrosis",
            **(
                {"subifds": len(levels) - 1, "metadata": facts}
                if k == 0
                else {"subfiletype": 1, "metadata": None}
            ),
        )


def _coloured(level: Level) -> NDArray[np.uint8]:
    viable = level.channels[VIABLE]
    known = np.isfinite(viable)
    return np.where(known[..., None], heat_colours(np.where(known, viable, 0)), WHITE).astype(np.uint8)
