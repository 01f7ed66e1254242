"""How often the interval of percent viable holds the truth, on simulated slides.

    python benchmarks/intervals.py                # print the tables
    python benchmarks/intervals.py --write        # put them into docs/intervals.md

A slide is 20 x 30 mm of tumour in cells of 0.25 mm. Where it is viable is a Gaussian field with a spherical variogram
of range 2.5 mm, cut at a level, so that the expected percent viable is known (T2); the share of the slide at hand is
T1. A classifier that errs has a sensitivity and a specificity of its own on each patient. The intervals are those of
`wsi_necrosis.quantify.intervals`, and as a warning one over single tiles.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from wsi_necrosis.quantify.intervals import interval_of_blocks

PAGE = Path(__file__).resolve().parents[1] / "docs" / "intervals.md"
BEGIN, END = "<!-- written by benchmarks/intervals.py -->", "<!-- end -->"
ROWS, COLS, CELL_MM = 80, 120, 0.25
RANGE_MM, BLOCK_MM = 2.5, 4.0
PERCENTS = (2, 10, 30, 50)
CONFIDENCE = 0.95
BOOTSTRAP = 4000
SENSITIVITY, SPECIFICITY = (0.85, 0.08), (0.92, 0.05)  # mean and standard deviation between patients
PATIENTS = 20
CELLS_A_PATIENT = 300  # of each kind of tumour that a calibration patient gives


@dataclass(frozen=True)
class Found:
    """One interval, and whether it holds the truth of the slide (T1) and the expected one (T2), in percent."""

    low: float
    high: float
    t1: float
    t2: float

    def holds(self, truth: str) -> bool:
        return self.low <= getattr(self, truth) <= self.high


@cache
def _amplitudes() -> NDArray[np.float64]:
    """Square root of the spectrum of a spherical covariance, on a grid twice as long as the slide's."""
    lags = [np.minimum(np.arange(2 * n), 2 * n - np.arange(2 * n)) * CELL_MM for n in (ROWS, COLS)]
    ratio = np.minimum(np.hypot(lags[0][:, None], lags[1][None]) / RANGE_MM, 1)
    return np.sqrt(np.maximum(np.fft.fft2(1 - 1.5 * ratio + 0.5 * ratio**3).real, 0))


def viable_cells(percent: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where a slide is viable, (rows, cols); `percent` of it is so in expectation."""
    spectrum = _amplitudes()
    noise = rng.standard_normal(spectrum.shape) + 1j * rng.standard_normal(spectrum.shape)
    field = np.fft.fft2(noise * spectrum).real[:ROWS, :COLS] / np.sqrt(spectrum.size)
    return np.asarray(field > norm.isf(percent / 100))


def block_sums(viable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cells of each class (blocks, 3) in blocks of 4 mm."""
    side = round(BLOCK_MM / CELL_MM)
    row, col = np.indices(viable.shape) // side
    at = (row * (col.max() + 1) + col).ravel()
    counts = np.bincount(at, viable.ravel())
    return np.stack([0 * counts, np.bincount(at) - counts, counts], axis=-1)


def patient(rng: np.random.Generator) -> tuple[float, float]:
    """Sensitivity and specificity on one patient."""
    return tuple(float(np.clip(rng.normal(*each), 0.5, 0.999)) for each in (SENSITIVITY, SPECIFICITY))


def calibration(rng: np.random.Generator, patients: int = PATIENTS) -> list[NDArray[np.float64]]:
    """Errors of the classifier on other patients, as they are found on some of their cells."""
    found = []
    for _ in range(patients):
        sensitivity, specificity = (
            rng.binomial(CELLS_A_PATIENT, each) / CELLS_A_PATIENT for each in patient(rng)
        )
        found.append(
            np.array([[1, 0, 0], [0, specificity, 1 - specificity], [0, 1 - sensitivity, sensitivity]])
        )
    return found


def called(viable: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """What a classifier calls viable on a new patient."""
    sensitivity, specificity = patient(rng)
    return np.asarray(rng.random(viable.shape) < np.where(viable, sensitivity, 1 - specificity))


def intervals(percent: float, draws: int, seed: int) -> Iterator[dict[str, Found]]:
    """By name, the intervals of each slide."""
    rng = np.random.default_rng((seed, percent))
    for _ in range(draws):
        viable = viable_cells(percent, rng)
        read = called(viable, rng)
        own, errors = int(rng.integers(2**32)), calibration(rng)
        ends = {
            "tiles, classifier never wrong": over_tiles(viable),
            "blocks, classifier never wrong": over_blocks(viable, own),
            "blocks, classifier that errs": over_blocks(read, own),
            "blocks and 10 patients, classifier that errs": over_blocks(read, own, errors[:10]),
            "blocks and 20 patients, classifier that errs": over_blocks(read, own, errors),
        }
        yield {name: Found(*each, 100 * viable.mean(), percent) for name, each in ends.items()}


def over_tiles(viable: NDArray[np.bool_]) -> tuple[float, float]:
    """As if tiles told nothing of one another: for many tiles the bootstrap is this interval."""
    share = viable.mean()
    half = norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt(share * (1 - share) / viable.size)
    return 100 * (share - half), 100 * (share + half)


def over_blocks(
    viable: NDArray[np.bool_], seed: int, patients: list[NDArray[np.float64]] | None = None
) -> tuple[float, float]:
    """The interval of the package; without one, what nobody was told cannot be wrong: all from 0 to 100."""
    blocks = block_sums(viable)
    if np.count_nonzero(blocks[:, 2]) < 2:
        return 0.0, 100.0
    return interval_of_blocks(
        blocks, CONFIDENCE, BOOTSTRAP if patients is None else 1000, seed, patients or ()
    )


def table(draws: int, seed: int) -> str:
    """Coverage of T1 and T2, and mean width, by interval and percent."""
    found = {percent: list(intervals(percent, draws, seed)) for percent in PERCENTS}
    lines = [
        "| interval | " + " | ".join(f"{percent} %" for percent in PERCENTS) + " |",
        "|---|" + "---|" * len(PERCENTS),
    ]
    for name in found[PERCENTS[0]][0]:
        cells = []
        for percent in PERCENTS:
            each = [slide[name] for slide in found[percent]]
            first, second = (np.mean([one.holds(truth) for one in each]) for truth in ("t1", "t2"))
            width = np.mean([one.high - one.low for one in each])
            known = "" if name.endswith("wrong") else f"T1 {first:.3f}, "
            cells.append(f"{known}T2 {second:.3f}, width {width:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or put it into the page."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--draws", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--write", action="store_true")
    given = options.parse_args()
    text = table(given.draws, given.seed)
    print(text)
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
