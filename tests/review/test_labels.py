from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import UsageError
from wsi_necrosis.review.labels import (
    Given,
    agreement,
    all_labels,
    import_labels,
    latest_by_reader,
    read_given,
    reading_of,
)
from wsi_necrosis.review.rule import correct
from wsi_necrosis.review.sample import Sample, sample_cells
from wsi_necrosis.review.sheet import write_sheet

NOW = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def sample(out: Path) -> Sample:
    return sample_cells(out, 20, 1)


def as_predicted(sample: Sample) -> dict[int, str]:
    return {cell.number: CLASSES[cell.predicted] for cell in sample.cells}


def test_labels_of_a_table_are_read_by_key_and_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("cell;label;reader\n1;v;\n2;N;B\n3;no such;\n4;;\n")
    with pytest.raises(UsageError, match=r"labels cell 3 'no such'; labels are v \(viable\)"):
        read_given(path, "A")
    path.write_text("cell,label,reader\n1,v,\n2,N,B\n3,o,\n4,,\ncell 5,?,\n6,Necrosis,\n7,Viable tumour,\n")
    found = read_given(path, "A")
    names = ["viable", "non_viable", "non_tumour", "unsure", "non_viable", "viable"]
    assert [(each.cell, each.label) for each in found] == list(zip((1, 2, 3, 5, 6, 7), names, strict=True))
    assert [each.reader for each in found[:2]] == ["A", "B"]


def test_labels_of_qupath_are_read_by_the_name_of_the_cell(tmp_path: Path) -> None:
    feature = {"type": "Feature", "geometry": None, "properties": {"name": "cell 7"}}
    labelled = feature | {"properties": {"name": "cell 8", "classification": {"name": "Tumor"}}}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature, labelled]}))
    assert read_given(path, "A") == [Given(8, "viable", "A")]


def test_files_for_qupath_come_back_as_labels(out: Path, sample: Sample) -> None:
    """Each cell is given a class, as a person does it in QuPath, which keeps names and outlines."""
    page = write_sheet(out, sample)
    qupath = {"viable": "Tumor", "non_viable": "Necrosis", "non_tumour": "Stroma"}
    wanted = as_predicted(sample)
    given = []
    for path in sorted(page.with_name("review-qupath").iterdir()):
        tree = json.loads(path.read_text())
        for feature in tree["features"]:
            number = int(feature["properties"]["name"].removeprefix("cell "))
            feature["properties"]["classification"] = {"name": qupath[wanted[number]]}
        path.write_text(json.dumps(tree))
        given += read_given(path, "A")
    found = latest_by_reader(import_labels(out, sample, given, NOW))["A"]
    assert found == wanted
    assert reading_of(sample, "A", found) == reading_of(sample, "A", wanted)


def test_every_version_is_kept_and_the_last_one_counts(out: Path, sample: Sample) -> None:
    first = [Given(1, "viable", "A"), Given(2, "viable", "A")]
    import_labels(out, sample, first, NOW)
    import_labels(
        out, sample, [Given(1, "viable", "A"), Given(2, "unsure", "A"), Given(1, "viable", "B")], NOW
    )
    kept = all_labels(out, sample)
    assert [(each.cell, each.label, each.reader) for each in kept] == [
        (1, "viable", "A"), (2, "viable", "A"), (2, "unsure", "A"), (1, "viable", "B"),
    ]  # fmt: skip
    assert latest_by_reader(kept) == {"A": {1: "viable", 2: "unsure"}, "B": {1: "viable"}}
    with pytest.raises(UsageError, match="cells 99 are not of the review 'review'"):
        import_labels(out, sample, [Given(99, "viable", "A")], NOW)


def test_the_number_is_that_of_the_rule(sample: Sample) -> None:
    found = reading_of(sample, "A", as_predicted(sample))
    drawn = [sum(cell.times for cell in sample.cells if cell.predicted == at) for at in range(3)]
    assert (
        found.if_viable
        == found.if_non_viable
        == correct(sample.shares, drawn, [0, 0, drawn[2]], [0, drawn[1], 0])
    )
    assert found.unsure == 0


def test_unsure_labels_count_both_ways(sample: Sample) -> None:
    labels = as_predicted(sample) | {1: "unsure"}
    found = reading_of(sample, "A", labels)
    assert found.unsure == sample.cells[0].times
    assert found.if_viable == reading_of(sample, "A", labels | {1: "viable"}).if_viable
    assert found.if_non_viable == reading_of(sample, "A", labels | {1: "non_viable"}).if_viable


def test_no_number_before_all_cells_have_a_label(sample: Sample) -> None:
    labels = as_predicted(sample)
    del labels[3]
    with pytest.raises(UsageError, match=r"1 of \d+ cells have no label by A \(the first is 3\)"):
        reading_of(sample, "A", labels)
    none = dict.fromkeys(as_predicted(sample), "non_tumour")
    assert reading_of(sample, "A", none).if_viable is None


def test_readers_are_compared_on_cells_that_both_labelled() -> None:
    one = {1: "viable", 2: "viable", 3: "non_viable", 4: "non_tumour"}
    same, kappa, count = agreement(
        one, {2: "non_viable", 1: "viable", 3: "non_viable", 4: "non_tumour", 9: "viable"}
    )
    assert (same, round(kappa, 2), count) == (0.75, 0.64, 4)
    assert agreement(one, {})[2] == 0


def test_a_label_that_was_taken_back_is_none() -> None:
    given = [Given(1, "viable", "A"), Given(2, "viable", "A"), Given(1, "", "A")]
    assert latest_by_reader(given) == {"A": {2: "viable"}}
    assert latest_by_reader([*given, Given(1, "unsure", "A")]) == {"A": {2: "viable", 1: "unsure"}}


def test_labels_of_another_review_are_refused(out: Path, sample: Sample, tmp_path: Path) -> None:
    cell = sample.cells[0]
    path = tmp_path / "a.csv"
    x, y = cell.place
    for left, refused in ((x, False), (x + 100, True)):
        path.write_text(f"cell,label,x_l0,y_l0\n{cell.number},v,{left},{y}\n")
        given = read_given(path, "A")
        if refused:
            with pytest.raises(UsageError, match=r"another review than 'review': cell \d+ lies elsewhere"):
                import_labels(out, sample, given, NOW)
        else:
            import_labels(out, sample, given, NOW)


def test_two_labels_of_one_cell_in_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("cell,label\n1,v\n1,v\n")
    assert len(read_given(path, "A")) == 2
    path.write_text("cell,label\n1,v\n1,n\n")
    with pytest.raises(UsageError, match="gives cell 1 two labels by A"):
        read_given(path, "A")
