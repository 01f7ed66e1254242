"""docs/outputs.md says what every file, key, column and word means."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from wsi_necrosis.dataset.manifest import KEPT
from wsi_necrosis.export.cases import _row as case_row
from wsi_necrosis.export.foci import COLUMNS as FOCI_COLUMNS
from wsi_necrosis.export.summary import _row
from wsi_necrosis.export.tiles_table import LABELS
from wsi_necrosis.inference.job import Job
from wsi_necrosis.model.quantity import EndOfScale
from wsi_necrosis.pipelines.batch.records import COLUMNS
from wsi_necrosis.pipelines.sensitivity import COLUMNS as SENSITIVITY_COLUMNS
from wsi_necrosis.quantify.bed import BedShares
from wsi_necrosis.quantify.case_grades import CaseGrade
from wsi_necrosis.quantify.cases import CaseInterval, CaseNumber
from wsi_necrosis.quantify.doubt import Decision, ResultWarning
from wsi_necrosis.quantify.intervals import Interval
from wsi_necrosis.quantify.ledger import ABSTAINED_FOR
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.quantify.percentage import IfAbstained
from wsi_necrosis.quantify.sentences import BY, REASONS, SHORT
from wsi_necrosis.scores.slide_folder import OUTPUTS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "outputs.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([^`]+)`", PAGE))
OPEN = {
    "versions",
    "tissue",
    "grid",
    "radiomics",
    "backend",
    "quantify",
    "export",
    "manifest",
}  # other pages list their keys


def keys(facts: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Keys at all depths, but for those of settings and versions."""
    for key, value in facts.items():
        yield key
        if isinstance(value, Mapping) and (key not in OPEN or above == "provenance"):
            yield from () if key == "versions" else keys(value, key)


def test_every_key_of_the_files_is_on_the_page(job: Job) -> None:
    found = {*keys(json.loads((job.folder / "result.json").read_text()))}
    found |= set(json.loads((job.folder / "perf.json").read_text()))
    for each in (BedShares, Interval, Decision, EndOfScale, IfAbstained, ResultWarning):
        found |= {field.name for field in fields(each)}
    assert len(found) > 100
    assert found - NAMED == set()


def test_every_column_is_on_the_page(job: Job) -> None:
    columns = set(_row(json.loads((job.folder / "result.json").read_text())))
    schema = pq.read_schema(job.folder / "tiles.parquet")
    columns |= {
        *schema.names,
        *(name.decode() for name in schema.metadata),
        *COLUMNS,
        *KEPT,
        *FOCI_COLUMNS,
        *SENSITIVITY_COLUMNS,
    }
    assert columns - NAMED == set()


def test_every_key_of_cases_is_on_the_page() -> None:
    number = CaseNumber(source="model", policy="tumour", estimator="soft", definition={})
    found = {name for name, _ in case_row("1", number.to_dict(), []) if not name.endswith("_mm2")}
    found |= {field.name for each in (CaseNumber, CaseGrade) for field in fields(each)}
    found |= {field.name for field in fields(CaseInterval)} - {"draws"}
    assert found - NAMED == set()


def test_every_file_and_word_is_on_the_page() -> None:
    words = {*OUTPUTS, *REASONS, *SHORT, *BY, *LABELS.values(), *ABSTAINED_FOR, "no_viable", "no_non_viable"}
    words |= {colour.qupath for colour in PALETTE.values()}
    assert words - NAMED == set()


def test_every_measurement_is_on_the_page(job: Job) -> None:
    files = (job.folder / name for name in ("regions.geojson", "foci.geojson"))
    found = [each for file in files for each in json.loads(file.read_text())["features"]]
    assert {name for each in found for name in each["properties"]["measurements"]} - NAMED == set()
