"""The server, asked as a browser, another page, or somebody without the token would ask it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import simplejpeg
from tornado.httpclient import HTTPResponse
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application

from wsi_necrosis.errors import UsageError
from wsi_necrosis.viewer.access import Access
from wsi_necrosis.viewer.server import PAGE, make_application, serve
from wsi_necrosis.viewer.slides import ViewedSlides


class TestServer(AsyncHTTPTestCase):
    """Every address and every refusal."""

    @pytest.fixture(autouse=True)
    def given(self, out: Path) -> None:
        self.out = out

    def get_app(self) -> Application:
        self.access = Access(self.get_http_port())
        self.slides = ViewedSlides(self.out)
        self.threads = ThreadPoolExecutor(2)
        self.key = self.slides.summaries()[0]["key"]
        return make_application(self.slides, self.access, self.threads)

    def tearDown(self) -> None:
        self.threads.shutdown()
        self.slides.close()
        super().tearDown()

    def ask(self, path: str, token: bool = True, facts: Any = None, **headers: str) -> HTTPResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Cookie"] = f"{self.access.cookie}={self.access.token}"
        if facts is None:
            return self.fetch(path, headers=sent)
        sent.setdefault("Content-Type", "application/json")
        return self.fetch(path, method="POST", body=json.dumps(facts), headers=sent)

    def refused(self, status: int, said: str, path: str, **options: Any) -> None:
        response = self.ask(path, **options)
        assert response.code == status
        assert said in json.loads(response.body)["error"]
        assert self.access.token not in response.body.decode()

    def test_the_address_with_the_token_opens_the_page_and_gives_the_cookie(self) -> None:
        response = self.ask(f"/?token={self.access.token}", token=False)
        assert response.code == 200
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "Server" not in response.headers
        for name in re.findall(r'(?:src|href)="(page/[^"]+)"', response.body.decode()):
            assert self.ask(f"/{name}").code == 200

    def test_files_of_the_page_have_types_that_browsers_run(self) -> None:
        for path in PAGE.iterdir():
            kind = self.ask(f"/page/{path.name}").headers["Content-Type"]
            assert ("javascript" in kind) == (path.suffix == ".js")
            assert ("css" in kind) == (path.suffix == ".css")

    def test_what_the_page_asks_for(self) -> None:
        start = json.loads(self.ask("/api/start").body)
        assert [slide["slide_id"] for slide in start["slides"]] == ["a.tiff", "b.tiff"]
        assert start["reviews"] == ["review"]
        assert len(start["ramp"]) == start["top"] + 1
        slide = json.loads(self.ask(f"/api/slides/{self.key}").body)
        rows, cols = slide["grid"]["shape"]
        layers = self.ask(f"/api/slides/{self.key}/layers?reader=A").body
        assert len(layers) == len(start["layers"]) * rows * cols
        assert self.ask(f"/api/slides/{self.key}/tissue").body.startswith(b"\x89PNG")
        tile = self.ask(f"/api/slides/{self.key}/tiles/0/1/2")
        assert tile.headers["Content-Type"] == "image/jpeg"
        assert "private" in tile.headers["Cache-Control"]
        assert simplejpeg.decode_jpeg(tile.body).shape == (256, 256, 3)
        row = pq.read_table(self.out / "slides/a.tiff/tiles.parquet").slice(40, 1).to_pylist()[0]
        found = json.loads(self.ask(f"/api/slides/{self.key}/cells/{row['row']}/{row['col']}?reader=A").body)
        assert found.get("hidden") or found["tile"] == row

    def test_labels_and_marks_are_kept(self) -> None:
        facts = {"cell": 1, "label": "viable", "reader": "A"}
        state = json.loads(self.ask("/api/reviews/review", facts=facts).body)
        assert state["cells"][0]["label"] == "viable"
        assert json.loads(self.ask("/api/reviews/review?reader=A").body) == state
        mark = {"row": 1, "col": 2, "label": "viable", "reader": "A"}
        marks = json.loads(self.ask(f"/api/slides/{self.key}/marks", facts=mark).body)
        assert json.loads(self.ask(f"/api/slides/{self.key}/marks").body) == marks

    def test_without_the_token_nothing_is_told(self) -> None:
        for path in ("/", "/page/main.js", "/api/start", f"/api/slides/{self.key}", "/none"):
            self.refused(403, "the token is missing or wrong", path, token=False)
        self.refused(403, "the token is missing", "/?token=wrong", token=False)
        self.refused(403, "the token is missing", "/", token=False, Cookie=f"{self.access.cookie}=wrong")
        facts = {"cell": 1, "label": "viable", "reader": "A"}
        path = f"/api/reviews/review?token={self.access.token}"
        self.refused(403, "the token is missing", path, token=False, facts=facts)

    def test_another_host_is_refused(self) -> None:
        port = self.get_http_port()
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}"):
            self.refused(403, "this page is at 127.0.0.1", "/api/start", Host=host)
        assert self.ask("/api/start", Host=f"localhost:{port}").code == 200

    def test_another_origin_is_refused(self) -> None:
        facts = {"cell": 1, "label": "viable", "reader": "A"}
        for origin in (
            "http://evil.example",
            "null",
            f"https://127.0.0.1:{self.get_http_port()}",
            "http://127.0.0.1",
        ):
            self.refused(403, "another page sent this request", "/api/start", Origin=origin)
            self.refused(403, "another page", "/api/reviews/review", facts=facts, Origin=origin)
        own = f"http://127.0.0.1:{self.get_http_port()}"
        assert self.ask("/api/reviews/review", facts=facts, Origin=own).code == 200

    def test_no_path_leaves_the_results(self) -> None:
        for path in (
            "/page/../access.py", "/page/..%2faccess.py", "/page/%2e%2e/access.py", "/page//etc/passwd",
            "/../../etc/passwd", "/api/slides/../../etc/passwd", "/api/slides/..%2f..%2fetc%2fpasswd",
            "/api/slides/slides%2fa.tiff", "/api/reviews/../review", "/api/reviews/..%2freview",
        ):  # fmt: skip
            self.refused(404, "there is nothing at this address", path)
        self.refused(404, "there is no slide", "/api/slides/000000000000")
        self.refused(404, "is not there; draw cells", "/api/reviews/none")

    def test_huge_numbers_are_refused(self) -> None:
        for place in ("0/999999999/0", "0/0/999999999", "999999999/0/0"):
            self.refused(404, "there is no", f"/api/slides/{self.key}/tiles/{place}")
        self.refused(404, "there is nothing", f"/api/slides/{self.key}/tiles/0/{'9' * 40}/0")
        self.refused(404, "there is nothing", f"/api/slides/{self.key}/tiles/0/-1/0")
        self.refused(404, "there is no cell", f"/api/slides/{self.key}/cells/999999999/0")

    def test_a_slide_that_is_taken_away_is_gone(self) -> None:
        slide = self.slides.slide(self.key)
        path = Path(slide.report.result["path"])
        assert self.ask(f"/api/slides/{self.key}/tiles/0/0/0").code == 200
        aside = path.rename(path.with_suffix(".aside"))
        try:
            self.refused(410, "cannot be read any more", f"/api/slides/{self.key}/tiles/0/0/1")
        finally:
            aside.rename(path)

    def test_a_body_that_is_none_is_refused(self) -> None:
        cookie = {"Cookie": f"{self.access.cookie}={self.access.token}"}
        for kind, body in (
            ("application/json", "no json"), ("application/json", "[1]"), ("application/json", "[" * 9000),
            ("text/plain", '{"cell": 1, "label": "viable", "reader": "A"}'),
        ):  # fmt: skip
            headers = {**cookie, "Content-Type": kind}
            response = self.fetch("/api/reviews/review", method="POST", body=body, headers=headers)
            assert response.code == 400
            assert "no JSON object" in json.loads(response.body)["error"]
        assert self.fetch("/api/start", method="DELETE", headers=cookie).code == 405

    def test_a_failure_says_nothing_of_its_inside(self) -> None:
        self.slides.summaries = lambda: 1 / 0
        with self.assertLogs("wsi_necrosis.viewer.access", "ERROR"):
            self.refused(500, "the viewer failed", "/api/start")


def test_it_listens_on_this_machine_alone_until_it_is_ended(measured: Path) -> None:
    async def visit() -> tuple[str, bool]:
        until = asyncio.Event()
        found = asyncio.get_running_loop().create_future()
        served = asyncio.create_task(serve(measured, 0, found.set_result, until))
        address = await found
        port = int(re.findall(r":(\d+)/", address)[0])
        with socket.socket() as other:
            elsewhere = other.connect_ex(("127.0.0.2", port)) == 0
        with pytest.raises(UsageError, match=f"port {port} cannot be listened on"):
            await serve(measured, port, found.set_result, until)
        until.set()
        await served
        return address, elsewhere

    address, elsewhere = asyncio.run(visit())
    assert address.startswith("http://127.0.0.1:")
    assert not elsewhere
