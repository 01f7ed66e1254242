"""Percent viable by labels on cases that the model has not seen: error and coverage with real predictions.

    python benchmarks/labels_left_out.py [--model default] [--draws 200] [--kept FILE.npz]

Each case of the labelled tiles is left out in turn and the model is fitted to the others with its own settings, as
`wsi-necrosis evaluate` does. A simulated case has 300 cells, which are crops of one left-out case, or of one that gives
its non-viable and one that gives its viable tumour (`wsi_necrosis.metrics.simulation`). The model's likeliest class of
each cell is its stratum, and the truth its label. "alone" is the same number of labels of the same cells without a
model. Prints a table for RESULTS.md; `--kept` keeps the predictions for another run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from slides import data_folder, stamp

from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.metrics.simulation import Cells, Scene, scenes_of
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.pipelines.evaluation.evaluate import settings_of
from wsi_necrosis.review.rule import allocate, correct, draw
from wsi_necrosis.training.leave_case_out import FitSetup, hold_out
from wsi_necrosis.training.samples import SampleCache

LABELS = (10, 20, 40, 80)


def left_out(model: str) -> Cells:
    """Crops of one class, with what a model says of them that was fitted to the other cases."""
    spec = load_spec(model)
    settings = settings_of(spec, data_folder() / "tcia_os")
    tiles = read_tiles(settings.data, Path.cwd(), Field(spec.tile_px, spec.mpp))
    samples = SampleCache(tiles).samples(settings)
    seeds = settings.fit.test_seeds[: max(settings.network.members, 1)]
    prob = hold_out(FitSetup.of(samples, settings), seeds).prob.mean(axis=0)
    certain = samples.truth.max(axis=1) == 1
    cases = np.array([tile.case for tile in samples.tiles], np.str_)[samples.owner]
    return Cells(samples.truth[certain].argmax(axis=1), cases[certain], prob[None, certain])


def cells_of(cells: Cells, scene: Scene, rng: np.random.Generator) -> NDArray[np.int64]:
    """Crops of a simulated case."""
    rows = []
    for label, count in enumerate(scene.counts):
        own = cells.rows(label, *scene.cases)
        if label == NON_TUMOUR and not len(own):
            own = cells.rows(NON_TUMOUR)
        rows.append(rng.choice(own, count) if count else own[:0])
    return np.concatenate(rows)


def readings(
    cells: Cells, scene: Scene, labels: int, draws: int, *, with_model: bool
) -> Iterator[tuple[float, float, float]]:
    """Share, low and high in percent of each simulated case; the cases are the same with and without the model."""
    for at in range(draws):
        rows = cells_of(cells, scene, np.random.default_rng((at, scene.percent)))
        predicted = cells.prob[0, rows].argmax(axis=1) if with_model else np.zeros(len(rows), np.int64)
        area = np.ones(len(rows))
        names = np.unique(predicted)
        shares = np.array([(predicted == name).mean() for name in names])
        found = draw(area, predicted, labels, at)
        truth = cells.labels[rows[found]]
        counts = [
            [int(((predicted[found] == name) & (truth == label)).sum()) for name in names]
            for label in (VIABLE, NON_VIABLE)
        ]
        number = correct(shares.tolist(), allocate(shares, labels).tolist(), *counts)
        if number is not None:
            yield 100 * number.share, 100 * number.low, 100 * number.high


def row(cells: Cells, labels: int, draws: int, *, with_model: bool) -> tuple[float, float, float]:
    """RMSE in points, coverage in percent and mean width in points over all scenes."""
    found, true = [], []
    for scene in scenes_of(cells):
        each = list(readings(cells, scene, labels, draws, with_model=with_model))
        found += each
        true += [scene.true] * len(each)
    (share, low, high), truth = np.array(found).T, np.array(true)
    held = (low <= truth + 1e-9) & (truth - 1e-9 <= high)
    return float(np.sqrt(((share - truth) ** 2).mean())), 100 * float(held.mean()), float((high - low).mean())


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", default="default")
    options.add_argument("--draws", type=int, default=200)
    options.add_argument("--kept", type=Path)
    given = options.parse_args()
    if given.kept and given.kept.exists():
        with np.load(given.kept) as kept:
            cells = Cells(kept["labels"], kept["cases"], kept["prob"])
    else:
        cells = left_out(given.model)
        if given.kept:
            np.savez(given.kept, labels=cells.labels, cases=cells.cases, prob=cells.prob)
    right = (cells.prob[0].argmax(axis=1) == cells.labels).mean()
    print(f"{stamp()}\n{given.model}: {100 * right:.0f} % of {len(cells.labels)} left-out crops right")
    print(f"{len(scenes_of(cells))} scenes, {given.draws} draws each; classes {', '.join(CLASSES)}")
    print("| labels | with the model: RMSE, coverage, width | alone |\n|---:|---|---|")
    for labels in LABELS:
        said = (
            "{:.1f}, {:.1f} %, {:.0f}".format(*row(cells, labels, given.draws, with_model=with_model))
            for with_model in (True, False)
        )
        print(f"| {labels} | {' | '.join(said)} |")


if __name__ == "__main__":
    main()
