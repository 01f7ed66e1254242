"""Everything that determines the scores of a slide, fixed before scoring starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.model.loading import choose_backend
from wsi_necrosis.model.quality import quality_facts
from wsi_necrosis.model.quantity import quantity_facts
from wsi_necrosis.model.spec import ModelSpec, load_spec, portable_name
from wsi_necrosis.provenance import SCORE_VERSION, digest
from wsi_necrosis.radiomics.extraction import Engine
from wsi_necrosis.settings.run import QuantifySettings, Settings
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.info import SlideInfo
from wsi_necrosis.slides.slide import Slide
from wsi_necrosis.tiling.grid import TileGrid, lay_grid
from wsi_necrosis.tiling.regions import Regions

FEW_TILES = 4  # in a batch on a processor: more gain nothing there, and the last batch of a block is padded
MANY_TILES = 64  # in a batch on a GPU: a block
COARSEST_MASK = 0.25  # of a cell's side; coarser ones cannot say how much tissue a cell holds

WHOLE = Regions()  # nothing is outlined: all tissue that is found is measured


@dataclass(frozen=True)
class Plan:
    """Everything that determines the scores of a slide, known before scoring starts.

    Attributes
    ----------
    info : SlideInfo
        Metadata of the slide.
    spec : ModelSpec
        Description of the model.
    grid : TileGrid
        Cells, tiles and blocks.
    backend : Backend
        Library, device and number format of the network.
    batch_tiles : int
        Tiles per forward pass.
    engine : {"compiled", "reference"}
        Engine of the radiomics.
    model : str
        The model's name, or the absolute path of its folder.
    quantify : QuantifySettings
        How scores become a percentage.
    regions : Regions
        What a person outlined.
    inputs : mapping
        Every input of the scores, JSON-ready.
    fingerprints : mapping
        Hashes by stage: scoring, measuring, export.
    """

    info: SlideInfo
    spec: ModelSpec
    grid: TileGrid
    backend: Backend
    batch_tiles: int
    engine: Engine
    model: str
    quantify: QuantifySettings
    regions: Regions
    inputs: Mapping[str, Any]
    fingerprints: Mapping[str, str]


def make_plan(slide: Slide, settings: Settings, regions: Regions = WHOLE) -> Plan:
    """Lay the grid and fix every input of the scores; `regions` is what a person outlined on the slide.

    Raises
    ------
    PixelSizeError, SettingsError, ModelError, UsageError
        Slide, model, settings and backend do not fit together.
    """
    info, spec = slide.info, load_spec(settings.model.name)
    mpp = info.known_mpp
    grid = lay_grid(info, spec.mpp, spec.tile_px, settings.grid)
    backend = choose_backend(settings.model)
    batch_tiles = settings.model.batch_tiles or (FEW_TILES if backend.device == "cpu" else MANY_TILES)
    if settings.tissue.mpp_um > COARSEST_MASK * grid.stride_px * grid.mpp.side:
        raise SettingsError(
            f"tissue.mpp_um {settings.tissue.mpp_um:g} is too coarse for cells of "
            f"{grid.stride_px * grid.mpp.side:.0f} um; give at most a quarter of a cell"
        )
    inputs: dict[str, Any] = {
        "score_version": SCORE_VERSION,
        "slide": {
            "fingerprint": slide_fingerprint(info.files),
            "reader": info.reader,
            "mpp_x": mpp.x,
            "mpp_y": mpp.y,
            "scene": info.scene,
        },
        "model": {
            "name": spec.name,
            "fingerprint": spec.fingerprint,
            "focus_limit": None if spec.quality is None else spec.quality.focus,
        },
        "tissue": settings.tissue.model_dump(),
        "grid": settings.grid.model_dump(),
        "radiomics": settings.radiomics.model_dump(),
        "backend": {**asdict(backend), "batch_tiles": batch_tiles},
    }
    if regions.facts:
        inputs["regions"] = regions.facts
    scoring = digest(inputs)
    known = [quantity_facts(spec.quantity), quality_facts(spec.quality)]
    measuring = [scoring, settings.quantify.model_dump(), *known]
    fingerprints = {
        "scoring": scoring,
        "measuring": digest(measuring),
        "export": digest([*measuring, settings.export.facts()]),
    }
    return Plan(
        info,
        spec,
        grid,
        backend,
        batch_tiles,
        settings.radiomics.engine,
        portable_name(settings.model.name),
        settings.quantify,
        regions,
        inputs,
        fingerprints,
    )
