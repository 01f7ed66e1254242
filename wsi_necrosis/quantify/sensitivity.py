"""How percent viable of a slide depends on each threshold, computed from its scores; no tile is scored again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from wsi_necrosis.model.quantity import Quantity
from wsi_necrosis.quantify.percentage import NecrosisScore, measure
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.settings.run import QuantifySettings

NEVER = 1e9  # a limit that nothing exceeds
# Values that are tried for each setting, one setting at a time.
TRIED: Mapping[str, Sequence[Any]] = MappingProxyType(
    {
        "estimator": ("by_class", "soft"),
        "policy": ("tumour", "tumour_bed"),
        "max_uncertainty": (1.0, 0.9, 0.8, 0.7, 0.6, 0.5),
        "max_ood": (0.5, 0.75, 1.0, 1.5, 2.0, NEVER),
        "max_defocus": (0.5, 0.75, 1.0, 1.5, 2.0, NEVER),
        "min_focus_mm2": (0.0, 0.05, 0.1, 0.25, 0.5, 1.0),
    }
)


@dataclass(frozen=True)
class Trial:
    """Percent viable under one setting that differs.

    Attributes
    ----------
    setting, value : str, Any
        What was changed, and to what.
    is_set : bool
        Whether that is the value in force.
    status, reason : str
        As of a result.
    percent_viable : float or None
        By the leading estimator; for `min_focus_mm2` without the foci that are smaller.
    points : float or None
        How far it is from percent viable under the settings in force.
    abstained_mm2 : float
        Tissue that abstains.
    """

    setting: str
    value: Any
    is_set: bool
    status: str
    reason: str | None
    percent_viable: float | None
    points: float | None
    abstained_mm2: float


def sensitivity(scores: Scores, settings: QuantifySettings, quantity: Quantity | None = None) -> list[Trial]:
    """Percent viable at each value of each threshold, all else as it is.

    Parameters
    ----------
    scores : Scores
        The slide's scores.
    settings : QuantifySettings
        In force; their own values are among those tried.
    quantity : Quantity, optional
        What is known of the model's percent viable, as for `measure`.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> _ = wn.write_phantom("small.tiff", side_mm=0.5)
    >>> report = wn.analyse("small.tiff", "small", wn.load_settings(overrides=["model.name=phantom"]))
    >>> found = sensitivity(report.scores(), report.settings.quantify, report.quantity)
    >>> [trial.value for trial in found if trial.is_set][:3]
    ['by_class', 'tumour', 1.0]
    """
    settings = settings.model_copy(update={"bootstrap_draws": 2})  # intervals are not asked for
    now = measure(scores, settings, quantity)
    in_force = {name: getattr(settings, name) for name in TRIED} | {"estimator": now.estimator}
    return [
        _trial(
            name,
            value,
            value == in_force[name],
            now,
            measure(scores, _changed(settings, name, value), quantity),
        )
        for name, tried in TRIED.items()
        for value in (tried if in_force[name] in tried else sorted([*tried, in_force[name]]))
    ]


def _changed(settings: QuantifySettings, name: str, value: Any) -> QuantifySettings:
    return settings.model_copy(update={name: value})


def _trial(name: str, value: Any, is_set: bool, now: NecrosisScore, score: NecrosisScore) -> Trial:  # noqa: FBT001
    small = name == "min_focus_mm2" and value > 0
    percent = score.percent_viable_without_small_foci if small else score.percent_viable
    points = None if percent is None or now.percent_viable is None else percent - now.percent_viable
    return Trial(
        setting=name,
        value=value,
        is_set=is_set,
        status=score.status,
        reason=score.reason,
        percent_viable=percent,
        points=points,
        abstained_mm2=score.ledger.abstained * score.ledger.pixel_mm2,
    )
