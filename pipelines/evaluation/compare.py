"""Compare ways of making a model on its training tiles: figures, tables, plots and the model card."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import ModelError
from wsi_necrosis.files import remove, write_json, write_text
from wsi_necrosis.model.spec import ModelSpec, load_spec
from wsi_necrosis.pace import paced
from wsi_necrosis.settings.evaluation import EvaluationSettings
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.settings.train import TrainSettings
from wsi_necrosis.training.held_out import HeldOutSummary, summarise_held_out
from wsi_necrosis.training.held_out_ood import hold_out_ood
from wsi_necrosis.training.importance import importance
from wsi_necrosis.training.leave_case_out import HeldOut
from wsi_necrosis.training.samples import SampleCache, Samples, recipe_of

from . import ablation_page, evaluation_plots, model_card
from .comparison import Comparison, Judged
from .new_cases import identity
from .ood_inputs import OodInput, react, read_ood_inputs, summarise
from .rule import chosen_of
from .variants import shipped_variants, with_own

RESULT = "evaluation.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """Where results go: a folder, and the file of the model card."""

    out: Path
    card: Path


def compare(
    model: str,
    tiles: Sequence[LabelledTile],
    settings: TrainSettings,
    rules: EvaluationSettings,
    places: Places,
    ood_tables: Sequence[Path] = (),
) -> str:
    """Leave each case out in turn, under every variant; write tables, plots and the card; return a summary.

    Raises
    ------
    ModelError
        The model's recipe differs from the recipe of the same name in this version.
    """
    spec = load_spec(model)
    _require_recipe(spec, settings)
    inputs = [each for table in ood_tables for each in read_ood_inputs(table)]
    fits = places.out / "fits"
    with ProcessPoolExecutor(settings.crops.workers, get_context("spawn")) as pool:
        comparison = Comparison(SampleCache(tiles), settings, rules, pool, fits)
        main, rows = _rows(comparison)
        setup = comparison.setup(main.samples, comparison.settings_of(main.variant))
        grown = importance(setup, main.seeds, np.random.default_rng(rules.seed), pool)
    remove(fits)
    found = summarise_held_out(main.samples, main.held, settings)
    facts = {
        "model": identity(spec),
        "main": main.variant.name,
        "seeds": list(main.seeds),
        "variants": rows,
        "rule": rules.rule.model_dump(mode="json"),
        "chosen": chosen_of({variant.name: rows[variant.name] for variant in rules.variants}, rules.rule),
        "metrics": found.metrics,
        "quantity": None if found.quantity is None else asdict(found.quantity),
        "ships": shipped_variants(comparison, main.variant.name),
        "reproduced": _reproduced(found, spec),
        "gate": _gate(main.samples, main.held),
        "importance": grown,
        "ood": _ood_figures(inputs, model, main.samples, settings) if inputs else None,
    }
    places.out.mkdir(parents=True, exist_ok=True)
    write_json(places.out / RESULT, facts)
    evaluation_plots.draw(places.out, main, found, settings.calibration, rules.calibration_bins)
    _write_pages(spec, facts, places)
    return ablation_page.summary(facts)


def _require_recipe(spec: ModelSpec, settings: TrainSettings) -> None:
    if recipe_of(settings.network) != spec.recipe:
        raise ModelError(
            f"model {spec.name!r} was trained with another recipe {spec.recipe.name!r} than this version has; "
            "train it again"
        )


def _write_pages(spec: ModelSpec, facts: dict[str, Any], places: Places) -> None:
    write_text(places.out / "ablation.md", ablation_page.render(facts))
    places.card.parent.mkdir(parents=True, exist_ok=True)
    page = os.path.relpath(places.out / "ablation.md", places.card.parent)
    write_text(places.card, model_card.render(spec, facts, page))


def _rows(comparison: Comparison) -> tuple[Judged, dict[str, Any]]:
    """Predictions of the variant that is the model itself, and a row for each variant."""
    start, seeds = time.monotonic(), comparison.settings.fit.test_seeds
    name_of_main, variants = with_own(comparison)
    by_name = {variant.name: variant for variant in variants}
    main = comparison.judge(by_name[name_of_main], seeds)
    rows = {}
    for name, variant in paced(by_name.items(), len(by_name), "variants"):
        judged = main if name == name_of_main else comparison.judge(variant, seeds)
        rows[name] = comparison.row(judged, main)
        log.info("%s: macro-F1 %.3f", name, rows[name]["tile"]["macro_f1"]["mean"])
    log.info("%d variants took %.1f minutes", len(rows), (time.monotonic() - start) / 60)
    return main, rows


def _reproduced(found: HeldOutSummary, spec: ModelSpec) -> bool:
    same = bool(json.loads(json.dumps(found.metrics)) == json.loads(json.dumps(spec.metrics)))
    return same and (found.calibration, found.quantity) == (spec.calibration, spec.quantity)


def _gate(samples: Samples, held: HeldOut) -> dict[str, dict[str, float]]:
    """Quartiles of the weight of the radiomics branch over held-out tiles, by class; empty without a gate."""
    found: dict[str, dict[str, float]] = {}
    if not held.weighs:
        return found
    weight = samples.by_tile(held.gate.mean(axis=0))[:, 1]
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
    held = hold_out_ood(samples, settings.crops, settings.ood)
    familiar = held.distance[held.tissue] / held.limit(held.tissue, settings.ood)
    run_settings = load_settings(overrides=[f"model.name={json.dumps(model)}", "cluster.workers=1"])
    return summarise(list(react(inputs, run_settings)), familiar)
