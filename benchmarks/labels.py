"""How well percent viable by labels does: error, coverage and width of `review.rule` on simulated cases.

    python benchmarks/labels.py [--draws 2000] [--seed 1]

A case has a share of non-tumour, a true percent viable of its tumour, and a classifier, which predicts three classes by
a confusion matrix. Cells are drawn with replacement within predicted classes, so that the labels of a class are
multinomial. Prints a table for RESULTS.md; "alone" is the same number of labels without a model. "large viable cells"
are cases of 300 cells whose viable ones are five times as large, drawn one by one, with a classifier that is 80 %
right.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.review.rule import allocate, correct, draw

NON_TUMOUR = 0.3  # share of the tissue
PERCENTS = (0, 2, 10, 50, 98, 100)
LABELS = (10, 20, 40, 150)
CLASSIFIERS = {  # rows: truly non-tumour, non-viable, viable; columns: predicted so
    "useless": np.full((3, 3), 1 / 3),
    "99 % right": np.full((3, 3), 0.005) + 0.985 * np.eye(3),
    "viable called non-tumour": np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.9, 0.05, 0.05]]),
    "80 % right": np.full((3, 3), 0.1) + 0.7 * np.eye(3),
}
FEW_CELLS, LARGER = 300, 5  # of a small case, and how much larger its viable cells are


def simulated(
    joint: NDArray[np.float64], labels: int, draws: int, rng: np.random.Generator
) -> Iterator[tuple[float, float, float]]:
    """Share, low and high of draws with a tumour label; `joint` is the area by predicted class (row) and true one."""
    shares = joint.sum(axis=1)
    drawn = allocate(shares, labels)
    counts = [
        rng.multinomial(n, row / row.sum() if row.sum() else [1, 0, 0], draws)
        for n, row in zip(drawn, joint, strict=True)
    ]
    for each in np.stack(counts, axis=1):
        found = correct(shares, drawn, each[:, 2], each[:, 1])
        if found is not None:
            yield found.share, found.low, found.high


def simulated_cells(
    percent: float, labels: int, draws: int, seed: int
) -> Iterator[tuple[float, float, float]]:
    """The same, of 300 cells that are drawn one by one; about `percent` of the tumour's area is viable."""
    rng = np.random.default_rng((seed, labels, int(percent)))
    area, truth = few_cells(percent)
    for at in range(draws):
        chance = CLASSIFIERS["80 % right"][truth]
        predicted = (rng.random((len(truth), 1)) > chance.cumsum(axis=1)).sum(axis=1)
        cells = draw(area, predicted, labels, seed * draws + at)
        shares = np.bincount(predicted, area, len(CLASSES)) / area.sum()
        drawn, non_viable, viable = (
            np.bincount(predicted[cells[kept]], minlength=len(CLASSES))
            for kept in (slice(None), truth[cells] == 1, truth[cells] == 2)
        )
        found = correct(shares, drawn, viable, non_viable)
        if found is not None:
            yield found.share, found.low, found.high


def few_cells(percent: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Area and true class of the 300 cells."""
    tumour = FEW_CELLS - round(FEW_CELLS * NON_TUMOUR)
    viable = round(tumour * percent / (percent + LARGER * (100 - percent)))
    truth = np.repeat(np.arange(3), [FEW_CELLS - tumour, tumour - viable, viable])
    return np.where(truth == 2, float(LARGER), 1.0), truth


def row(
    percent: float, classifier: NDArray[np.float64] | None, labels: int, draws: int, seed: int
) -> list[float]:
    """RMSE, coverage in percent, and mean width in points."""
    truth = np.array([NON_TUMOUR, (1 - NON_TUMOUR) * (1 - percent / 100), (1 - NON_TUMOUR) * percent / 100])
    joint = truth[None] if classifier is None else (truth[:, None] * classifier).T
    return figures(percent, simulated(joint, labels, draws, np.random.default_rng((seed, labels))))


def row_of_cells(percent: float, labels: int, draws: int, seed: int) -> list[float]:
    """The same of large viable cells, whose true percentage is that of their areas."""
    area, truth = few_cells(percent)
    true = 100 * area[truth == 2].sum() / area[truth > 0].sum()
    return figures(true, simulated_cells(percent, labels, draws, seed))


def figures(true: float, found: Iterator[tuple[float, float, float]]) -> list[float]:
    """RMSE, coverage in percent, and mean width in points."""
    share, low, high = 100 * np.array(list(found)).T
    covered = (low <= true + 1e-9) & (true - 1e-9 <= high)
    return [
        float(np.sqrt(((share - true) ** 2).mean())),
        100 * float(covered.mean()),
        float((high - low).mean()),
    ]


def main() -> None:
    """Print the table, and the lowest coverage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--draws", type=int, default=2000)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    print("| classifier | labels | " + " | ".join(f"{percent} %" for percent in PERCENTS) + " |")
    print("|---|---:|" + "---:|" * len(PERCENTS))
    rows = {
        (name, labels): [row(percent, classifier, labels, given.draws, given.seed) for percent in PERCENTS]
        for (name, classifier), labels in product([*CLASSIFIERS.items(), ("alone", None)], LABELS)
    }
    for labels in LABELS:
        few = [row_of_cells(percent, labels, given.draws, given.seed) for percent in PERCENTS]
        rows["large viable cells", labels] = few
    for (name, labels), cells in rows.items():
        said = " | ".join(f"{rmse:.1f}, {covered:.1f} %, {width:.0f}" for rmse, covered, width in cells)
        print(f"| {name} | {labels} | {said} |")
    covered, where = min((cell[1], key) for key, cells in rows.items() for cell in cells)
    print(f"\nlowest coverage: {covered:.1f} % ({where[0]}, {where[1]} labels)")
    for name in CLASSIFIERS:
        widths = [
            f"{labels}: {np.mean([cell[2] for cell in rows[name, labels]]):.1f}"
            f" ({np.mean([cell[2] for cell in rows['alone', labels]]):.1f} alone)"
            for labels in LABELS
        ]
        print(f"mean width, {name}: {'; '.join(widths)}")


if __name__ == "__main__":
    main()
