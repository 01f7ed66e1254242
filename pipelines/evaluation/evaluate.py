"""`wsi-necrosis evaluate`: figures of a model on labelled tiles.

On tiles of new cases the model itself is evaluated. On its training tiles, each case is left out in turn, with its
training settings and with those of other variants. A mixture of both would give figures that are too good.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.dataset.tiles import LabelledTile, cases_of
from wsi_necrosis.errors import DatasetError, ModelError, SettingsError, UsageError
from wsi_necrosis.files import remove, require_writable, write_json, write_text
from wsi_necrosis.inference.scorer import predict_padded
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.spec import ModelSpec, list_models, load_spec
from wsi_necrosis.provenance import digest
from wsi_necrosis.settings.evaluation import EvaluationSettings, load_evaluation_settings
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.settings.train import TileDataSettings, TrainSettings, train_settings
from wsi_necrosis.training.figures import case_table, crop_table, tile_table
from wsi_necrosis.training.held_out import PICTURE_DIGITS, summarise_held_out
from wsi_necrosis.training.leave_case_out import HeldOut, hold_out_ood, importance
from wsi_necrosis.training.samples import SampleCache, Samples, recipe_of

from . import ablation_page, evaluation_plots, model_card
from .comparison import Comparison, Judged
from .ood_inputs import OodInput, react, read_ood_inputs, summarise

RESULT = "evaluation.json"
NAMES = frozenset({"name", "title", "notice", "members"})
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
    ood : Path, optional
        Table of pictures and slides that the model was not made for.
    tuned : bool
        Also compare variants whose backbone learns, which takes an hour and more.
    mpp_um : float, optional
        Pixel size of pictures for which the tiles' source gives none.
    """

    model: str
    tiles: Path
    out: Path
    card: Path | None = None
    ood: Path | None = None
    tuned: bool = False
    mpp_um: float | None = None

    @property
    def card_path(self) -> Path:
        """Where the model card is written."""
        return self.card or self.out / "MODEL_CARD.md"


def evaluate(options: Options, rules: EvaluationSettings | None = None) -> str:
    """Evaluate a model, write the figures to `out`, and return a summary as text.

    Raises
    ------
    DatasetError
        Some of the tiles or cases, but not all, were in the training.
    UsageError
        For new cases, an option of the comparison or the folder of one is given.
    WsiNecrosisError
        Tiles, model or settings are missing or do not fit.
    """
    rules = rules or load_evaluation_settings()
    spec = load_spec(options.model)
    settings = settings_of(spec, options.tiles)
    require_writable(options.out)
    require_writable(options.card_path.parent)
    field, given = Field(spec.tile_px, spec.mpp), options.mpp_um
    tiles = read_tiles(_sized(settings, given or settings.data.mpp_um), options.out, field)
    if not seen(spec, tiles):
        if given is None:  # the pixel size of the training's pictures does not hold for new ones
            tiles = read_tiles(_sized(settings, None), options.out, field)
        return judge_new(options, settings, tiles, rules.calibration_bins)
    if given is not None:
        raise UsageError(f"--mpp {given:g}: the size of these pixels is that of the training; leave it away")
    return compare(options, settings, tiles, rules)


def _sized(settings: TrainSettings, mpp_um: float | None) -> TileDataSettings:
    return settings.data.model_copy(update={"mpp_um": mpp_um})


def settings_of(spec: ModelSpec, tiles: Path) -> TrainSettings:
    """The settings that a model was trained with, for these tiles.

    Raises
    ------
    ModelError
        The checkpoint does not hold them, or holds those of another version.
    """
    if not spec.training:
        raise ModelError(f"model {spec.name!r} was not made by training, so that there is nothing to repeat")
    tree = {**spec.training, "data": {**spec.training["data"], "tiles": str(tiles), "layout": "auto"}}
    try:
        return train_settings(tree)
    except SettingsError as error:
        raise ModelError(
            f"model {spec.name!r} was trained with settings of another version: {error}"
        ) from None


def seen(spec: ModelSpec, tiles: Sequence[LabelledTile]) -> bool:
    """Whether these are the tiles that the model was trained on; False where neither they nor their cases were.

    Raises
    ------
    DatasetError
        Some were.
    """
    pictures = {tile.sha256[:PICTURE_DIGITS] for tile in tiles}
    trained = set(spec.trained_on.pictures)
    shared_cases = sorted({*cases_of(tiles)} & {*spec.trained_on.cases})
    if pictures == trained and cases_of(tiles) == spec.trained_on.cases:
        return True
    if pictures == trained:
        raise DatasetError(
            f"these are the training tiles of {spec.name!r} under other cases ({', '.join(cases_of(tiles))}, not "
            f"{', '.join(spec.trained_on.cases)}); leave them under the cases that it was trained with"
        )
    if pictures & trained or shared_cases:
        raise DatasetError(
            f"{len(pictures & trained)} of {len(pictures)} tiles were in the training of {spec.name!r}, and the cases "
            f"{', '.join(shared_cases) or 'none'}; figures on them would be too good: give tiles of other cases, or "
            f"just the {len(trained)} training tiles to leave their cases out in turn"
        )
    return False


def judge_new(options: Options, settings: TrainSettings, tiles: Sequence[LabelledTile], bins: int) -> str:
    """Figures of the model itself, on cases that it was not trained on."""
    _refuse_comparison(options)
    model = load_model(options.model)
    samples = SampleCache(tiles).plain(settings.crops, model.spec.recipe)
    found = predict_padded(model, samples.pixels, samples.features[:, 0], settings.crops.batch)
    prob = found.prob.astype(np.float64)[None]
    facts = {
        "model": _identity(model.spec),
        "tiles": len(tiles),
        "cases": case_table(samples, prob),
        "tile": tile_table(samples, prob, bins),
        "crop": crop_table(samples, prob, bins),
        "abstained_share": round(float((found.ood > 1).mean()), 4),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / RESULT, facts)
    return ablation_page.new_cases(facts)


def compare(
    options: Options, settings: TrainSettings, tiles: Sequence[LabelledTile], rules: EvaluationSettings
) -> str:
    """Leave each case out in turn, under every variant; write tables, plots and the card.

    Raises
    ------
    ModelError
        The model's recipe differs from the recipe of the same name in this version.
    """
    spec = load_spec(options.model)
    if recipe_of(settings.network) != spec.recipe:
        raise ModelError(
            f"model {spec.name!r} was trained with another recipe {spec.recipe.name!r} than this version has; "
            "train it again"
        )
    inputs = None if options.ood is None else read_ood_inputs(options.ood)
    few = _tuned_seeds(rules, settings.fit.test_seeds) if options.tuned else ()
    key, fits = _key(spec, rules), options.out / "fits"
    tuned = _kept(options.out, key)
    with ProcessPoolExecutor(settings.crops.workers, get_context("spawn")) as pool:
        comparison = Comparison(SampleCache(tiles), settings, rules, pool, fits)
        main, frozen = _frozen_rows(comparison)
        if options.tuned and not tuned:
            tuned = {
                variant.name: comparison.row(comparison.judge(variant, few), main) for variant in rules.tuned
            }
        setup = comparison.setup(main.samples, comparison.settings_of(main.variant))
        grown = importance(setup, main.seeds, np.random.default_rng(rules.seed), pool)
    remove(fits)
    found = summarise_held_out(main.samples, main.held, settings)
    facts = {
        "model": _identity(spec),
        "main": rules.main,
        "seeds": list(main.seeds),
        "frozen": frozen,
        "tuned": tuned,
        "tuned_key": key if tuned else None,
        "metrics": found.metrics,
        "ships": _shipped_variants(comparison),
        "reproduced": _same(found.metrics, spec.metrics) and found.calibration == spec.calibration,
        "gate": _gate(main.samples, main.held),
        "importance": grown,
        "ood": None if inputs is None else _ood_figures(inputs, options.model, main.samples, settings),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / RESULT, facts)
    evaluation_plots.draw(options.out, main, found, settings.calibration, rules.calibration_bins)
    write_text(options.out / "ablation.md", ablation_page.render(facts))
    options.card_path.parent.mkdir(parents=True, exist_ok=True)
    page = os.path.relpath(options.out / "ablation.md", options.card_path.parent)
    write_text(options.card_path, model_card.render(spec, facts, page))
    return ablation_page.summary(facts)


def _frozen_rows(comparison: Comparison) -> tuple[Judged, dict[str, Any]]:
    """The main variant, and a row for each variant whose backbone is frozen."""
    start, rules, seeds = time.monotonic(), comparison.rules, comparison.settings.fit.test_seeds
    variants = {variant.name: variant for variant in rules.frozen}
    main = comparison.judge(variants[rules.main], seeds)
    rows = {}
    for name, variant in variants.items():
        rows[name] = comparison.row(main if name == rules.main else comparison.judge(variant, seeds), main)
        log.info("%s: macro-F1 %.3f", name, rows[name]["tile"]["macro_f1"]["mean"])
    log.info("variants with a frozen backbone took %.1f minutes", (time.monotonic() - start) / 60)
    return main, rows


def _shipped_variants(comparison: Comparison) -> dict[str, str]:
    """Shipped models by the name of the variant whose training settings they have; without the main variant."""
    shipped = {name: load_spec(name).training for name in list_models()}
    variants = [
        variant
        for variant in (*comparison.rules.frozen, *comparison.rules.tuned)
        if variant.kind == "network"
    ]
    wanted = {
        variant.name: _model_settings(comparison.settings_of(variant).model_dump(mode="json"))
        for variant in variants
    }
    return {
        variant: name
        for variant, settings in wanted.items()
        for name, training in shipped.items()
        if training and variant != comparison.rules.main and _model_settings(training) == settings
    }


def _model_settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """The training settings without data, texts and number of members."""
    network = {key: value for key, value in training["network"].items() if key not in NAMES}
    return {**{key: training[key] for key in ("crops", "fit", "calibration", "ood")}, "network": network}


def _identity(spec: ModelSpec) -> dict[str, str]:
    return {"name": spec.name, "sha256": spec.weights_sha256, "fingerprint": spec.fingerprint}


def _refuse_comparison(options: Options) -> None:
    """Refuse options that only a comparison has, and a folder that holds a comparison."""
    asked = {"--card": options.card, "--ood": options.ood, "--tuned": options.tuned}
    unused = [name for name, value in asked.items() if value]
    if unused:
        raise UsageError(
            f"{', '.join(unused)}: none of the tiles was in the training of {options.model}, which is then evaluated "
            "without a comparison; give its training tiles, or leave the option out"
        )
    if "frozen" in _earlier(options.out):
        raise UsageError(
            f"{options.out} holds a comparison with other training variants; choose another with -o"
        )


def _tuned_seeds(rules: EvaluationSettings, seeds: Sequence[int]) -> list[int]:
    """Seeds of tuned variants that the main variant has as well.

    Raises
    ------
    SettingsError
        There are none.
    """
    shared = [seed for seed in rules.tuned_seeds if seed in seeds]
    if not shared:
        raise SettingsError(
            f"--tuned: none of tuned_seeds {list(rules.tuned_seeds)} is among the model's fit.test_seeds {list(seeds)} "
            "to compare with; train it with some of them"
        )
    return shared


def _key(spec: ModelSpec, rules: EvaluationSettings) -> str:
    """Hash of everything that determines the rows of tuned variants: the model, and the rules of these variants."""
    variants = [variant.model_dump() for variant in rules.frozen if variant.name == rules.main]
    return digest([spec.fingerprint, rules.model_dump(exclude={"frozen"}), variants])


def _kept(out: Path, key: str) -> dict[str, Any]:
    """Rows of tuned variants that an earlier call made from the same model, variants and seeds."""
    facts = _earlier(out)
    if facts.get("tuned_key") == key:
        return dict(facts["tuned"])
    if facts.get("tuned"):
        log.warning(
            "the tuned variants in %s are of another model or other settings, and are left out", out / RESULT
        )
    return {}


def _earlier(out: Path) -> dict[str, Any]:
    """The `evaluation.json` of an earlier call; empty if there is none."""
    try:
        facts = json.loads((out / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _same(one: Any, other: Any) -> bool:
    return bool(json.loads(json.dumps(one)) == json.loads(json.dumps(other)))


def _gate(samples: Samples, held: HeldOut) -> dict[str, dict[str, float]]:
    """Quartiles of the weight of the radiomics branch over held-out tiles, by class; empty without a gate."""
    weight = samples.by_tile(held.gate.mean(axis=0))[:, 1]
    found: dict[str, dict[str, float]] = {}
    if not np.isfinite(weight).all():
        return found
    for at, name in enumerate(CLASSES):
        rows = [tile.label == at for tile in samples.tiles]
        quartiles: NDArray[np.float64] = (
            np.percentile(weight[rows], (25, 50, 75)) if any(rows) else np.zeros(0)
        )
        if len(quartiles):
            low, middle, high = quartiles.round(4).tolist()
            found[name] = {"lower": low, "median": middle, "upper": high}
    return found


def _ood_figures(
    inputs: Sequence[OodInput], model: str, samples: Samples, settings: TrainSettings
) -> dict[str, Any]:
    held = hold_out_ood(samples, settings.ood)
    familiar = held.distance[held.tissue] / held.limit(held.tissue, settings.ood)
    run_settings = load_settings(overrides=[f"model.name={json.dumps(model)}", "cluster.workers=1"])
    return summarise(list(react(inputs, run_settings)), familiar)
