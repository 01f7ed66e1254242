"""`wsi-necrosis agree`: how far readers agree on percent viable, and the model with their consensus."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.dataset.cases import refuse_two_spellings
from wsi_necrosis.dataset.tables import read_rows
from wsi_necrosis.errors import DatasetError, UsageError
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.files import require_writable, write_json
from wsi_necrosis.metrics.readers import BlandAltman, Icc, bland_altman, icc, weighted_kappa
from wsi_necrosis.quantify.grades import GradeScheme, load_scheme

from .canvas import BLUE, GREY, PALE, picture

COLUMNS = ("case", "reader", "percent_viable")
CONSENSUS = "consensus"
WAY_OUT = "give a CSV with the columns case, reader and percent_viable"
LEAST_CASES = 3  # for limits of agreement
PANELS_A_ROW = 2


@dataclass(frozen=True)
class Readings:
    """What each reader found.

    Attributes
    ----------
    cases, readers : tuple of str
        In the order of the table; the model is no reader.
    values : float array (cases, readers)
        Percent viable; NaN where a reader did not read a case.
    model : float array (cases,) or None
        The same by the model.
    """

    cases: tuple[str, ...]
    readers: tuple[str, ...]
    values: NDArray[np.float64]
    model: NDArray[np.float64] | None

    @property
    def consensus(self) -> NDArray[np.float64]:
        """Median of the readers of each case; NaN where none read it."""
        return _median(self.values)

    def pairs(self) -> Iterator[tuple[str, str, NDArray[np.float64], NDArray[np.float64]]]:
        """The model and the consensus, then every two readers, on the cases that both read."""
        if self.model is not None:
            yield "model", CONSENSUS, *_both(self.model, self.consensus)
        for (at, one), (other_at, other) in combinations(enumerate(self.readers), 2):
            yield one, other, *_both(self.values[:, at], self.values[:, other_at])

    def against_consensus(self) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
        """Each reader and the median of the others, and the model and that of all, on the cases that both read."""
        for at, name in enumerate(self.readers):
            yield name, *_both(self.values[:, at], _median(np.delete(self.values, at, axis=1)))
        if self.model is not None:
            yield "model", *_both(self.model, self.consensus)


def agree(table: Path, out: Path, model: str, scheme: str) -> str:
    """Read what readers found, write tables and plots to `out`, and return a summary.

    Raises
    ------
    UsageError
        The table cannot be read, or holds fewer than two readers or cases.
    SettingsError
        There is no such scheme of grades.
    """
    readings, grades = read_readings(table, model), load_scheme(scheme)
    require_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    found = [
        (first, second, bland_altman(one, other), one, other)
        for first, second, one, other in readings.pairs()
        if len(one) >= LEAST_CASES
    ]
    pairs = [_pair_row(*each, grades) for each in found]
    by_grade = list(_grade_rows(readings, grades))
    complete = np.asarray(np.isfinite(readings.values).all(axis=1))
    correlation = _icc(readings.values[complete])
    write_csv(out / "pairs.csv", pairs, list(pairs[0]) if pairs else ["first", "second"])
    write_csv(
        out / "by_grade.csv", by_grade, ("reader", "grade", "cases", "mean_error", "mean_absolute_error")
    )
    facts = {
        "readers": list(readings.readers),
        "cases": len(readings.cases),
        "left_out_of_icc": [
            case for case, kept in zip(readings.cases, complete.tolist(), strict=True) if not kept
        ],
        "icc": None if correlation is None else {k: _plain(v) for k, v in asdict(correlation).items()},
        "scheme": grades.name,
        "weights": "quadratic",
    }
    write_json(out / "agreement.json", facts)
    if found:
        plot(out / "bland-altman.png", [each[:5] for each in found])
    return _summary(readings, correlation, pairs, grades, out)


def read_readings(path: Path, model: str) -> Readings:
    """What each reader found, from a table with a row for each reader and case; one of them may be the model.

    Raises
    ------
    UsageError
        It cannot be read, a value is no percentage, a reader read a case twice, or there are fewer than two of either.
    """
    try:
        rows = read_rows(path, COLUMNS, WAY_OUT)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    found: dict[tuple[str, str], float] = {}
    for number, row in enumerate(rows, 2):
        key = row["case"].strip(), row["reader"].strip()
        if not all(key):
            raise UsageError(f"{path}: row {number} names no case or no reader; fill both in")
        if key in found:
            raise UsageError(
                f"{path}: {key[1]} read the case {key[0]} twice (row {number}); keep one of them"
            )
        found[key] = _percent(row["percent_viable"], number, path)
    cases = tuple(dict.fromkeys(case for case, _ in found))
    names = tuple(dict.fromkeys(name for _, name in found))
    try:
        refuse_two_spellings(cases, path)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    readers = tuple(name for name in names if name != model)
    if len(readers) < 2 or len(cases) < 2:
        raise UsageError(
            f"{path} holds {len(readers)} readers and {len(cases)} cases; agreement takes at least two of each"
        )
    values = np.array([[found.get((case, name), np.nan) for name in readers] for case in cases])
    by_model = np.array([found.get((case, model), np.nan) for case in cases]) if model in names else None
    return Readings(cases, readers, values, by_model)


def plot(
    path: Path, found: Sequence[tuple[str, str, BlandAltman, NDArray[np.float64], NDArray[np.float64]]]
) -> None:
    """Draw a Bland-Altman panel for each pair: difference over mean, bias and limits."""
    rows = math.ceil(len(found) / PANELS_A_ROW)
    caption = (
        "Each point is a case. Line: bias; dashed: limits of agreement, bias +- 1.96 standard deviations (Bland and "
        "Altman 1986); on the right their 95 % intervals."
    )
    with picture(path, 3.6 * rows + 0.6, caption) as figure:
        panels = figure.subplots(rows, PANELS_A_ROW, squeeze=False, sharex=True, sharey=True).ravel()
        for panel, (first, second, limits, one, other) in zip(panels, found, strict=False):
            panel.axhline(0, color=PALE, linewidth=1)
            for value, interval, dash, beside in (
                (limits.bias, limits.bias_interval, "-", 106),
                (limits.low, limits.low_interval, "--", 103),
                (limits.high, limits.high_interval, "--", 109),
            ):
                panel.axhline(value, color=GREY, linestyle=dash, linewidth=1.5)
                panel.plot([beside, beside], interval, color=GREY, linewidth=1.5, marker="_", markersize=7)
            panel.plot((one + other) / 2, one - other, "o", color=BLUE, markersize=5, alpha=0.8)
            panel.set_title(f"{first} minus {second} ({limits.n} cases)")
            panel.set_xlim(-2, 112)
            panel.set_xlabel("mean, percent viable")
            panel.set_ylabel("difference, points")
            panel.label_outer()
        for panel in panels[len(found) :]:
            panel.set_axis_off()


def _pair_row(
    first: str,
    second: str,
    limits: BlandAltman,
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    grades: GradeScheme,
) -> dict[str, Any]:
    names = [grade.name for grade in grades.grades]
    kappa = weighted_kappa(
        [grades.grade(each) for each in one], [grades.grade(each) for each in other], names
    )
    ends = (("bias", limits.bias_interval), ("low", limits.low_interval), ("high", limits.high_interval))
    return {
        "first": first,
        "second": second,
        "cases": limits.n,
        **{name: _plain(getattr(limits, name)) for name in ("bias", "sd", "low", "high")},
        **{
            f"{name}_{end}": _plain(value)
            for name, pair in ends
            for end, value in zip(("from", "to"), pair, strict=True)
        },
        "mean_absolute_difference": _plain(float(np.abs(one - other).mean())),
        "weighted_kappa": _plain(kappa),
    }


def _grade_rows(readings: Readings, grades: GradeScheme) -> Iterator[dict[str, Any]]:
    """Mean error of each reader and of the model against the consensus, by the grade of the latter."""
    for name, own, consensus in readings.against_consensus():
        graded = np.array([grades.grade(each) for each in consensus])
        for grade in grades.grades:
            error = (own - consensus)[graded == grade.name]
            if len(error):
                yield {
                    "reader": name,
                    "grade": grade.name,
                    "cases": len(error),
                    "mean_error": _plain(float(error.mean())),
                    "mean_absolute_error": _plain(float(np.abs(error).mean())),
                }


def _icc(values: NDArray[np.float64]) -> Icc | None:
    return icc(values) if len(values) > 1 and np.ptp(values) > 0 else None


def _summary(
    readings: Readings,
    correlation: Icc | None,
    pairs: Sequence[Mapping[str, Any]],
    grades: GradeScheme,
    out: Path,
) -> str:
    lines = [f"{len(readings.cases)} cases, {len(readings.readers)} readers: {', '.join(readings.readers)}"]
    if correlation is None:
        lines.append("ICC(2,1): not available (fewer than two cases that all read, or one value for all)")
    else:
        lines.append(
            f"ICC(2,1) {correlation.value:.2f} (95 % interval {correlation.low:.2f} to {correlation.high:.2f}), "
            f"{correlation.n_cases} cases that all read"
        )
    for row in pairs:
        kappa = "not defined" if row["weighted_kappa"] is None else f"{row['weighted_kappa']:.2f}"
        lines.append(
            f"{row['first']} minus {row['second']}: bias {row['bias']:+.1f}, limits of agreement {row['low']:+.1f} to "
            f"{row['high']:+.1f} points, weighted kappa of {grades.title} grades {kappa} ({row['cases']} cases)"
        )
    return "\n".join([*lines, f"tables and plot: {out}"])


def _percent(text: str, number: int, path: Path) -> float:
    try:
        value = float(text.strip().removesuffix("%").replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise UsageError(
            f"{path}: row {number} gives {text[:40]!r}; percent viable is a number from 0 to 100, and a case that was "
            "not read has no row"
        )
    return value


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of each row without NaN; NaN where a row has nothing else."""
    return np.array(
        [np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in values]
    )


def _both(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    kept = np.isfinite(one) & np.isfinite(other)
    return one[kept], other[kept]


def _plain(value: float) -> float | None:
    """A number for JSON and CSV, rounded; None where it is not defined."""
    return round(float(value), 4) if math.isfinite(value) else None
