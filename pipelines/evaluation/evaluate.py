"""`wsi-necrosis evaluate`: figures of a model on labelled tiles.

On tiles of new cases the model itself is evaluated. On its training tiles, each case is left out in turn, with its
training settings and with those of other variants. A mixture of both would give figures that are too good.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import ModelError, SettingsError, UsageError
from wsi_necrosis.files import require_writable, write_json
from wsi_necrosis.model.spec import ModelSpec, load_spec
from wsi_necrosis.settings.evaluation import EvaluationSettings, load_evaluation_settings
from wsi_necrosis.settings.train import TileDataSettings, TrainSettings, train_settings

from . import new_cases
from .compare import RESULT, Places, compare
from .known_tiles import familiarity

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of the command line.

    Attributes
    ----------
    model : str
        Shipped model or checkpoint folder.
    tiles : Path
        Labelled tiles, in any layout that training reads.
    out : Path
        Folder of the results.
    card : Path, optional
        Where the model card is written; `out/MODEL_CARD.md` if not given.
    ood : tuple of Path
        Tables of pictures and slides that the model was not made for.
    within_case : bool
        Accept tiles of cases that the model was trained on, if it has not seen the tiles; results are marked.
    mpp_um : float, optional
        Pixel size of pictures for which the tiles' source gives none.
    """

    model: str
    tiles: Path
    out: Path
    card: Path | None = None
    ood: tuple[Path, ...] = ()
    within_case: bool = False
    mpp_um: float | None = None

    @property
    def places(self) -> Places:
        """Where the results of a comparison go."""
        return Places(self.out, self.card or self.out / "MODEL_CARD.md")


def evaluate(options: Options, rules: EvaluationSettings | None = None) -> str:
    """Evaluate a model, write the figures to `out`, and return a summary as text.

    Raises
    ------
    DatasetError
        Some of the tiles, but not all, were in the training; or their cases were, without `within_case`.
    UsageError
        For new cases, an option of the comparison or the folder of one is given.
    WsiNecrosisError
        Tiles, model or settings are missing or do not fit.
    """
    rules = rules or load_evaluation_settings()
    spec = load_spec(options.model)
    settings = settings_of(spec, options.tiles)
    places = options.places
    require_writable(places.out)
    require_writable(places.card.parent)
    field, given = Field(spec.tile_px, spec.mpp), options.mpp_um
    tiles = read_tiles(_sized(settings, given or settings.data.mpp_um), options.out, field)
    known = familiarity(spec, tiles, within_case=options.within_case)
    if not known.trained:
        if given is None:  # the pixel size of the training's pictures does not hold for new ones
            tiles = read_tiles(_sized(settings, None), options.out, field)
        return _judge(options, settings, tiles, rules, known.cases)
    if given is not None:
        raise UsageError(f"--mpp {given:g}: the size of these pixels is that of the training; leave it away")
    log.info("these are the training tiles of model %s: each case is left out in turn", spec.name)
    return compare(options.model, tiles, settings, rules, places, options.ood)


def settings_of(spec: ModelSpec, tiles: Path) -> TrainSettings:
    """The settings that a model was trained with, for these tiles.

    Raises
    ------
    ModelError
        The checkpoint does not hold them, or holds those of another version.
    """
    if not spec.training:
        raise ModelError(f"model {spec.name!r} was not made by training, so that there is nothing to repeat")
    data = spec.training.get("data")
    try:
        known = data if isinstance(data, dict) else {}
        return train_settings({**spec.training, "data": {**known, "tiles": str(tiles), "layout": "auto"}})
    except SettingsError as error:
        raise ModelError(
            f"model {spec.name!r} was trained with settings of another version: {error}"
        ) from None


def _sized(settings: TrainSettings, mpp_um: float | None) -> TileDataSettings:
    return settings.data.model_copy(update={"mpp_um": mpp_um})


def _judge(
    options: Options,
    settings: TrainSettings,
    tiles: Sequence[LabelledTile],
    rules: EvaluationSettings,
    known_cases: Sequence[str],
) -> str:
    """Figures of the model itself, on tiles that it was not trained on."""
    _refuse_comparison(options)
    log.info("model %s has seen none of these tiles, and is evaluated as it is", options.model)
    within = known_cases if options.within_case else None
    facts = new_cases.judge_new(options.model, tiles, settings.crops, rules, within)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / RESULT, facts)
    return new_cases.describe(facts)


def _refuse_comparison(options: Options) -> None:
    """Refuse options that only a comparison has, and a folder that holds a comparison."""
    asked = {"--card": options.card, "--ood": options.ood}
    unused = [name for name, value in asked.items() if value]
    if unused:
        raise UsageError(
            f"{', '.join(unused)}: none of the tiles was in the training of {options.model}, which is then evaluated "
            "without a comparison; give its training tiles, or leave the option out"
        )
    if "variants" in _earlier(options.out):
        raise UsageError(
            f"{options.out} holds a comparison with other training variants; choose another with -o"
        )


def _earlier(out: Path) -> dict[str, Any]:
    """The `evaluation.json` of an earlier call; empty if there is none."""
    try:
        facts = json.loads((out / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
