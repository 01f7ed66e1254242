"""What all labels of a review say: percent viable by each reader, in numbers, in sentences, and as a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import isnan
from pathlib import Path
from typing import Any

from wsi_necrosis.files import write_json
from wsi_necrosis.review.labels import Given, Reading, agreement, latest_by_reader, missing, reading_of
from wsi_necrosis.review.rule import Corrected
from wsi_necrosis.review.sample import Sample, sample_path

TARGET = "the tissue that was scanned"


@dataclass(frozen=True)
class ReviewResult:
    """Percent viable by each reader who has labelled all cells.

    Attributes
    ----------
    readings : tuple of Reading
        Of these readers.
    by_reader : mapping
        Labels of every reader, by the number of the cell.
    sentences : tuple of str
        The same in words, with who has not finished, and how far readers agree.
    """

    readings: tuple[Reading, ...]
    by_reader: Mapping[str, Mapping[int, str]]
    sentences: tuple[str, ...]


def result_of(sample: Sample, given: Sequence[Given]) -> ReviewResult:
    """The result of all labels that were ever given; of each cell and reader the last one counts."""
    by_reader = latest_by_reader(given)
    readings = tuple(
        reading_of(sample, reader, labels)
        for reader, labels in by_reader.items()
        if not missing(sample, labels)
    )
    return ReviewResult(readings, by_reader, tuple(_sentences(sample, by_reader, readings)))


def write_result(
    out: Path, sample: Sample, result: ReviewResult, as_drawn: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write `reviews/<name>-result.json`, and give what it holds.

    Parameters
    ----------
    out : Path
        Folder of results.
    sample : Sample
        The cells.
    result : ReviewResult
        What their labels say.
    as_drawn : mapping, optional
        Percent viable of regions that a person corrected.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    facts: dict[str, Any] = {
        "review": sample.name,
        "case": sample.case,
        "readings": [reading_facts(sample, each) for each in result.readings],
        "sentences": result.sentences,
    }
    if as_drawn is not None:
        facts["as_drawn"] = dict(as_drawn)
    write_json(sample_path(out, sample.name).with_name(f"{sample.name}-result.json"), facts)
    return facts


def reading_facts(sample: Sample, reading: Reading) -> dict[str, Any]:
    """Percent viable by a reader's labels with what it is of, ready for JSON."""
    return {**asdict(reading), "definition": definition_of(sample, reading)}


def definition_of(sample: Sample, reading: Reading) -> dict[str, str]:
    """Denominator, tissue, estimator and target of percent viable by a reader's labels, a sentence each."""
    count = len(sample.slides)
    unsure = (
        f"; {reading.unsure} of them are ?, counted as viable, and the interval holds both ways of counting"
        if reading.unsure
        else ""
    )
    return {
        "denominator": "viable and non-viable tumour, as the reader labelled it",
        "tissue": f"all cells with tissue of {count} slide{'' if count == 1 else 's'}, those that abstained too; each "
        "recut of a block counts in full",
        "estimator": f"labels of {sample.labels} cells by {reading.reader}; the model's classes are strata{unsure}",
        "target": TARGET,
    }


def _sentences(
    sample: Sample, by_reader: Mapping[str, Mapping[int, str]], readings: Sequence[Reading]
) -> Iterator[str]:
    finished = {reading.reader: reading for reading in readings}
    for reader, labels in by_reader.items():
        if reader in finished:
            who = f"{reader}: " if len(by_reader) > 1 else ""
            yield from (who + said for said in reading_sentences(sample, finished[reader]))
        else:
            unlabelled = missing(sample, labels)
            yield (
                f"{reader}: {len(unlabelled)} of {len(sample.cells)} cells have no label yet (the first is "
                f"{unlabelled[0]}); no number before all have one, with ? where it cannot be told"
            )
    for one, other in combinations(by_reader, 2):
        same, kappa, count = agreement(by_reader[one], by_reader[other])
        if count:
            known = "" if isnan(kappa) else f", kappa {kappa:.2f}"
            cells = "1 cell" if count == 1 else f"{count} cells"
            yield f"{one} and {other} labelled {cells}, {100 * same:.0f} % of them alike{known}"


def reading_sentences(sample: Sample, reading: Reading) -> list[str]:
    """Percent viable by a reader's labels: a sentence, or two where labels are "?", which counts both ways."""
    if reading.unsure == 0:
        return [_sentence(sample, reading.if_viable)]
    return [
        f"Labels ? ({reading.unsure}) as viable: {_sentence(sample, reading.if_viable)}",
        f"Labels ? ({reading.unsure}) as non-viable tumour: {_sentence(sample, reading.if_non_viable)}",
    ]


def _sentence(sample: Sample, found: Corrected | None) -> str:
    if found is None:
        return f"No number: none of {sample.labels} labelled cells is tumour."
    rounds = " in rounds" if sample.rounds else ""
    low, high = (f"{100 * end:.0f}" for end in (found.low, found.high))
    return (
        f"Percent viable {100 * found.share:.0f} % (95 % interval {low} to {high} %), from {found.labels} cells "
        f"drawn at random by tissue area and labelled{rounds} by a person; {found.tumour_labels} were tumour, worth "
        f"{found.effective:.0f} with the model's help. It covers the chance of the draw, not readers' disagreement or "
        "tissue that was not scanned."
    )
