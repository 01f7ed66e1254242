from pathlib import Path

import pytest

from wsi_necrosis.errors import UsageError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.pipelines.batch.inputs import Where, gather
from wsi_necrosis.slides.info import GivenMpp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of the names of slides, each with content of its own size."""
    names = ("a.svs", "CASE1/slide.svs", "CASE2/slide.svs", "CASE2/slide.tiff")
    for size, name in enumerate(names, 1):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return tmp_path / "in"


def names(*named: object, where: Where | None = None) -> list[str]:
    return [slide.name for slide in gather([str(each) for each in named], where or Where()).slides]


def test_slides_of_a_folder_are_named_by_their_path_in_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ["CASE1/slide.svs", "CASE2/slide.svs", "CASE2/slide.tiff", "a.svs"]
    assert names(folder, where=Where(recursive=True)) == found
    assert names(folder) == ["a.svs"]
    monkeypatch.chdir(folder)
    gathered = gather(["."], Where(recursive=True))
    assert [slide.name for slide in gathered.slides] == found
    assert all(slide.path.is_absolute() for slide in gathered.slides)


def test_slides_that_are_named_have_their_files_names(folder: Path) -> None:
    assert names(folder / "a.svs", folder / "CASE1" / "slide.svs") == ["a.svs", "slide.svs"]
    assert names(folder / "CASE2" / "sl*") == ["slide.svs", "slide.tiff"]
    assert names(folder / "missing.svs") == ["missing.svs"]


def test_equal_names_are_refused_with_both_paths_and_the_way_out(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        names(f"{folder}/**/*.svs")
    for part in (folder / "CASE1" / "slide.svs", folder / "CASE2" / "slide.svs", "slide_id", "--recursive"):
        assert str(part) in str(caught.value)


def test_a_pattern_that_nothing_matches_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no slide in .*\*\.ndpi"):
        names(folder / "*.ndpi")


def test_outlines_of_many_slides_lie_in_a_folder(folder: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    (drawn / "a.geojson").touch()
    (one,) = gather([str(folder / "a.svs")], Where(roi=drawn, tissue=drawn / "a.geojson")).slides
    assert (one.roi, one.tissue) == (drawn / "a.geojson", drawn / "a.geojson")
    with pytest.raises(UsageError, match=r"no outlines of CASE1/slide\.svs"):
        gather([str(folder)], Where(roi=drawn, recursive=True))
    with pytest.raises(UsageError, match="is not a folder"):
        gather([str(folder)], Where(tissue=drawn / "a.geojson", recursive=True))


@pytest.mark.parametrize("slide_id", ["../x", "/x", ".", "a/../../b", ".a.work", "b/.c"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, slide_id: str) -> None:
    (tmp_path / "m.csv").write_text(f"path,slide_id\na.svs,{slide_id}\n")
    with pytest.raises(UsageError, match="is no name for a folder"):
        names(tmp_path / "m.csv")


def test_names_within_one_another_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,slide_id\na.svs,A\nb.svs,A/b\n")
    with pytest.raises(UsageError, match=r"a\.svs \(A\) and .*b\.svs \(A/b\) would lie in one another"):
        names(tmp_path / "m.csv")


def test_pixel_sizes_come_from_manifest_table_and_option_in_this_order(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "path,mpp_x,mpp_y\nslide.tiff,0.25,\nin/CASE1/slide.svs,0.3,0.4\nx.svs,1,\n"
    )
    where = Where(recursive=True, mpp=Mpp(0.5, 0.5), mpp_table=tmp_path / "t.csv")
    gathered = gather([str(folder)], where)
    assert {slide.name: slide.mpp for slide in gathered.slides} == {
        "a.svs": GivenMpp(Mpp(0.5, 0.5)),
        "CASE1/slide.svs": GivenMpp(Mpp(0.3, 0.4), "table t.csv"),
        "CASE2/slide.svs": GivenMpp(Mpp(0.5, 0.5)),
        "CASE2/slide.tiff": GivenMpp(Mpp(0.25, 0.25), "table t.csv"),
    }
    assert gathered.warnings == (f"{tmp_path / 't.csv'} names slides that are not in this batch: x.svs",)
    (tmp_path / "m.csv").write_text("path,mpp_x\nin/CASE1/slide.svs,0.7\n")
    (slide,) = gather([str(tmp_path / "m.csv")], where).slides
    assert slide.mpp == GivenMpp(Mpp(0.7, 0.7), "table m.csv")


def test_scenes_come_from_the_manifest_else_from_the_option(folder: Path, tmp_path: Path) -> None:
    rows = "in/a.svs,A1,1\nin/a.svs,A2,left piece\nin/CASE1/slide.svs,B,\n"
    (tmp_path / "m.csv").write_text(f"path,slide_id,scene\n{rows}")
    gathered = gather([str(tmp_path / "m.csv")], Where(scene="3"))
    assert [slide.scene for slide in gathered.slides] == ["1", "left piece", "3"]
    assert gathered.warnings == ()  # scenes of one file are no copies


def test_columns_that_are_not_used_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,Slab_No,mpp\nin/a.svs,3,0.5\n")
    (said,) = gather([str(tmp_path / "m.csv")], Where()).warnings
    assert said == f"{tmp_path / 'm.csv'} has columns that are not used: 'mpp', 'slab_no'"


def test_equal_content_is_warned_of(folder: Path) -> None:
    (folder / "copy.svs").write_bytes((folder / "a.svs").read_bytes())
    (folder / "other.svs").write_bytes(b"x")  # of the same size
    (warning,) = gather([str(folder)], Where()).warnings
    assert (
        warning
        == f"{folder / 'a.svs'} and {folder / 'copy.svs'} have the same content; is one slide counted twice?"
    )
