"""Settings of a run: `configs/default.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from wsi_necrosis.settings.loading import merged, overlaid, shipped_yaml, validated
from wsi_necrosis.settings.schema import Count, Fraction, NotNegative, Positive, Section, Seed

FEWEST_HEARTBEATS = 3  # in the time after which an owner counts as silent: one or two may be late


class TissueSettings(Section):
    """How tissue is told from glass."""

    mpp_um: Positive
    chroma_od: Positive
    faint_chroma_od: Positive
    dark_od: Positive
    texture_od: Positive
    close_um: NotNegative
    min_piece_um2: NotNegative
    hole_um2: NotNegative


class GridSettings(Section):
    """How cells, tiles and blocks are laid out."""

    stride_tiles: Annotated[float, Field(gt=0, le=1)]
    block_cells: Count


class ModelSettings(Section):
    """Which model scores tiles, and on which device and backend."""

    name: str
    device: Literal["auto", "cpu", "cuda", "mps"]
    backend: Literal["auto", "torch", "openvino"]
    dtype: Literal["auto", "float32", "bfloat16"]
    batch_tiles: Annotated[int, Field(ge=0)]


class RadiomicsSettings(Section):
    """How radiomic features are computed; the model's recipe says which ones."""

    engine: Literal["compiled", "reference"]


class ClusterSettings(Section):
    """Where blocks are scored."""

    workers: Annotated[int, Field(ge=0)]
    processes: bool
    scheduler: str
    block_limit_s: NotNegative


class ClaimSettings(Section):
    """When another process takes over a slide from one that is silent."""

    heartbeat_s: Positive
    silence_s: Positive

    @model_validator(mode="after")
    def _several_heartbeats(self) -> Self:
        if self.silence_s < FEWEST_HEARTBEATS * self.heartbeat_s:
            raise ValueError(f"silence_s must be at least {FEWEST_HEARTBEATS} times heartbeat_s")
        return self


class QuantifySettings(Section):
    """How cells become areas, a percentage and an interval."""

    policy: Literal["tumour", "tumour_bed"]
    bed_min_mm2: NotNegative
    estimator: Literal["auto", "soft", "by_class"]
    min_tumour_mm2: NotNegative
    no_tumour_share: Fraction
    min_focus_mm2: NotNegative
    max_uncertainty: Fraction
    max_ood: Positive
    max_ood_share: Fraction
    max_defocus: Positive
    max_defocus_share: Fraction
    usual_defocus_share: Fraction
    usual_dense_share: Fraction
    min_nuclei: Count
    max_unreadable_share: Fraction
    max_estimator_gap: NotNegative
    undecided_top_prob: Fraction
    undecided_entropy: Fraction
    not_evaluable_top_prob: Fraction
    bootstrap_draws: Annotated[int, Field(ge=2)]
    block_mm: Positive | Literal["auto"]
    small_block_mm: Positive
    min_blocks: Annotated[int, Field(ge=2)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


Format = Literal[
    "report", "geojson", "ome_zarr", "parquet", "foci", "overlay", "geojson_gz", "tissue_geojson", "tiles_geojson",
    "ome_tiff", "csv", "annotation_store",
]  # fmt: skip


class ExportSettings(Section):
    """Which files are made for readers and other programs, and how pictures are."""

    formats: Annotated[tuple[Format, ...], Field(strict=False)]
    overlay_px: Annotated[int, Field(ge=64)]
    overlay_opacity: Fraction


class Settings(Section):
    """All settings of a run."""

    LISTED: ClassVar[str] = "`wsi-necrosis config`"

    tissue: TissueSettings
    grid: GridSettings
    model: ModelSettings
    radiomics: RadiomicsSettings
    cluster: ClusterSettings
    claims: ClaimSettings
    quantify: QuantifySettings
    export: ExportSettings


def load_settings(
    preset: str | None = None,
    config: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    defaults: Iterable[str] = (),
) -> Settings:
    """Shipped settings, with a preset, a file and `section.key=value` strings laid over them.

    `defaults` are such strings of a command that differs from the shipped settings; preset and file come over them.

    Raises
    ------
    SettingsError
        A file is missing or not YAML, a key is unknown, or a value is out of range.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> wn.load_settings(overrides=["model.device=cpu"]).model.device
    'cpu'
    """
    tree = overlaid(shipped_yaml("default.yaml"), None, defaults)
    if preset is not None:
        tree = merged(tree, shipped_yaml(f"presets/{preset}.yaml"))
    return validated(Settings, overlaid(tree, config, overrides))
