import json
from pathlib import Path

from wsi_necrosis.geometry import Mpp
from wsi_necrosis.pipelines.info import info


def test_info_describes_a_real_slide(data_dir: Path) -> None:
    slide = data_dir / "slides" / "CMU-1-Small-Region.svs"
    facts = json.loads(info(slide, None, as_json=True))
    assert facts["size"] == [2220, 2967]
    assert facts["mpp"] == [0.499, 0.499]
    assert (facts["mpp_source"], facts["vendor"], facts["objective"]) == ("metadata", "aperio", 20.0)
    assert "2220 x 2967" in info(slide, None, as_json=False)


def test_info_describes_what_run_would_refuse(data_dir: Path) -> None:
    slide = data_dir / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    facts = json.loads(info(slide, None, as_json=True))
    assert (facts["mpp"], facts["mpp_source"], facts["size_mm"]) == (None, "unknown", None)
    assert json.loads(info(slide, Mpp(0.5, 0.5), as_json=True))["size_mm"] == [2.221, 1.784]
    absurd = json.loads(info(data_dir / "slides" / "openslide_boxes.tiff", None, as_json=True))
    assert absurd["mpp"] is None
    assert "352" in absurd["mpp_source"]


def test_files_of_one_slide_are_counted(data_dir: Path) -> None:
    one, other = (
        json.loads(info(data_dir / "slides" / f"openslide_boxes_{at}.dcm", None, as_json=True))
        for at in (0, 1)
    )
    assert one["files"] == other["files"] == 2
    assert one["fingerprint"] == other["fingerprint"]
