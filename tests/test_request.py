from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wsi_necrosis.geometry import Mpp
from wsi_necrosis.request import Request, folder_in_work, working_on
from wsi_necrosis.slides.info import GivenMpp


def test_a_request_is_named_by_its_file_or_its_id() -> None:
    assert Request("a/slide.svs", "out").name == "slide.svs"
    request = Request("a/slide.svs", "out", "S1", 0.5, manifest={"case": "1"})
    assert (request.name, request.mpp, request.folder) == ("S1", GivenMpp(Mpp(0.5, 0.5)), Path("out"))
    assert hash(request) == hash(Request("a/slide.svs", "out", "S1", 0.5))


def test_each_thread_knows_its_own_slide() -> None:
    with ThreadPoolExecutor(1) as other, working_on(Request("a.svs", "a")):
        assert other.submit(folder_in_work).result() is None
        with working_on(Request("b.svs", "b")):
            assert folder_in_work() == Path("b")
        assert folder_in_work() == Path("a")
    assert folder_in_work() is None
