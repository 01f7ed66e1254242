"""How well percent viable by labels does: error, coverage and width of `review.rule` on simulated cases.

    python benchmarks/labels.py [--draws 2000] [--seed 1]

A case has a share of non-tumour, a true percent viable of its tumour, and a classifier, which predicts three classes by
a confusion matrix. Cells are drawn with replacement within predicted classes, so that the labels of a class are
multinomial. Prints a table for RESULTS.md; "alone" is the same number of labels without a model.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.review.rule import allocate, correct

NON_TUMOUR = 0.3  # share of the tissue
PERCENTS = (0, 2, 10, 50, 98, 100)
LABELS = (10, 20, 40, 150)
CLASSIFIERS = {  # rows: truly non-tumour, non-viable, viable; columns: predicted so
    "useless": np.full((3, 3), 1 / 3),
    "99 % right": np.full((3, 3), 0.005) + 0.985 * np.eye(3),
    "viable called non-tumour": np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.9, 0.05, 0.05]]),
    "80 % right": np.full((3, 3), 0.1) + 0.7 * np.eye(3),
}


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


def row(
    percent: float, classifier: NDArray[np.float64] | None, labels: int, draws: int, seed: int
) -> list[float]:
    """RMSE, coverage in percent, and mean width in points."""
    truth = np.array([NON_TUMOUR, (1 - NON_TUMOUR) * (1 - percent / 100), (1 - NON_TUMOUR) * percent / 100])
    joint = truth[None] if classifier is None else (truth[:, None] * classifier).T
    found = np.array(list(simulated(joint, labels, draws, np.random.default_rng((seed, labels)))))
    share, low, high = 100 * found.T
    covered = (low <= percent + 1e-9) & (percent - 1e-9 <= high)
    return [
        float(np.sqrt(((share - percent) ** 2).mean())),
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
    lowest = (100.0, "")
    for (name, classifier), labels in product([*CLASSIFIERS.items(), ("alone", None)], LABELS):
        cells = [row(percent, classifier, labels, given.draws, given.seed) for percent in PERCENTS]
        said = " | ".join(f"{rmse:.1f}, {covered:.1f} %, {width:.0f}" for rmse, covered, width in cells)
        print(f"| {name} | {labels} | {said} |", flush=True)
        lowest = min(lowest, *((cell[1], f"{name}, {labels} labels") for cell in cells))
    print(f"\nlowest coverage: {lowest[0]:.1f} % ({lowest[1]})")


if __name__ == "__main__":
    main()
