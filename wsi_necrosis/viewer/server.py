"""The viewer's server: its page, and what the page asks for."""

from __future__ import annotations

import asyncio
import functools
import getpass
import mimetypes
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError

from wsi_necrosis.classes import CLASSES as CLASS_NAMES
from wsi_necrosis.errors import UsageError
from wsi_necrosis.export.picture import heat_colours
from wsi_necrosis.export.tiles_table import LABELS
from wsi_necrosis.provenance import VERSION
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.viewer.access import ADDRESS, MOST_BODY, Access, GuardedHandler, NothingHandler
from wsi_necrosis.viewer.cells import CLASSES, NOTHING, SCALES, TOP, Layer
from wsi_necrosis.viewer.reviews import Reviews
from wsi_necrosis.viewer.slides import ViewedSlides

THREADS = 4  # that read slides
TILE_AGE_S = 3600  # how long a browser keeps a tile
PAGE = Path(__file__).parent / "page"
INDEX = "index.html"
KEY = "([0-9a-f]{12})"
NUMBER = r"(\d{1,9})"
NAME = "([A-Za-z0-9_-]{1,80})"
Result = TypeVar("Result")


class PageHandler(GuardedHandler):
    """The page and the files that belong to it: those of one folder, read when the server starts."""

    files: dict[str, bytes]

    def get(self, name: str = INDEX) -> None:
        """Give a file."""
        if name not in self.files:
            raise HTTPError(404)
        self.set_header("Content-Type", f"{mimetypes.guess_type(name)[0] or 'text/plain'}; charset=utf-8")
        self.write(self.files[name])


class DataHandler(GuardedHandler):
    """What the page asks for; files are read by threads, so that others need not wait."""

    slides: ViewedSlides
    reviews: Reviews
    threads: ThreadPoolExecutor

    async def in_thread(self, job: Callable[..., Result], *given: Any) -> Result:
        """The result of a job that reads or writes files."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, job, *given)

    @property
    def reader(self) -> str:
        """Who looks, as the page says it."""
        return self.get_query_argument("reader", "")


class StartHandler(DataHandler):
    """What the page needs first: slides, reviews, layers, colours."""

    async def get(self) -> None:
        """Give them."""
        slides = await self.in_thread(self.slides.summaries)
        names = await self.in_thread(self.reviews.names)
        self.write({"slides": slides, "reviews": names, "reader": getpass.getuser(), **_constants()})


class SlideHandler(DataHandler):
    """What is shown of a slide."""

    async def get(self, key: str) -> None:
        """Give it."""
        self.write(await self.in_thread(lambda: self.slides.slide(key).description()))


class TileHandler(DataHandler):
    """A tile of a slide."""

    async def get(self, key: str, level: str, row: str, col: str) -> None:
        """Give it as JPEG."""
        jpeg = await self.in_thread(self._tile, key, int(level), int(row), int(col))
        self.set_header("Content-Type", "image/jpeg")
        self.set_header("Cache-Control", f"private, max-age={TILE_AGE_S}")
        self.write(jpeg)

    def _tile(self, key: str, level: int, row: int, col: int) -> bytes:
        return self.slides.slide(key).tile(level, row, col)

    def compute_etag(self) -> None:
        """None: the browser keeps tiles by their age."""
        return


class TissueHandler(DataHandler):
    """Where a slide's tissue is."""

    async def get(self, key: str) -> None:
        """Give it as PNG."""
        png = await self.in_thread(lambda: self.slides.slide(key).tissue_png)
        self.set_header("Content-Type", "image/png")
        self.write(png)


class LayersHandler(DataHandler):
    """All layers of a slide, a byte per cell."""

    async def get(self, key: str) -> None:
        """Give them."""
        found = await self.in_thread(self._layers, key)
        self.set_header("Content-Type", "application/octet-stream")
        self.write(found)

    def _layers(self, key: str) -> bytes:
        slide = self.slides.slide(key)
        return slide.cells.layers(self.reviews.hidden(slide, self.reader))


class CellHandler(DataHandler):
    """What is known of a cell."""

    async def get(self, key: str, row: str, col: str) -> None:
        """Give it."""
        self.write(await self.in_thread(self._facts, key, int(row), int(col)))

    def _facts(self, key: str, row: int, col: int) -> dict[str, Any]:
        slide = self.slides.slide(key)
        return slide.cells.facts(row, col, self.reviews.hidden(slide, self.reader))


class MarksHandler(DataHandler):
    """Free marks of a slide."""

    async def get(self, key: str) -> None:
        """Give those that count."""
        self.write({"marks": await self.in_thread(lambda: self.reviews.marks(self.slides.slide(key)))})

    async def post(self, key: str) -> None:
        """Keep one."""
        facts = self.body()
        self.write({"marks": await self.in_thread(lambda: self.reviews.mark(self.slides.slide(key), facts))})


class ReviewHandler(DataHandler):
    """A review: its cells, and the labels of who looks."""

    async def get(self, name: str) -> None:
        """Give it."""
        self.write(await self.in_thread(self.reviews.review, name, self.reader))

    async def post(self, name: str) -> None:
        """Keep a label."""
        self.write(await self.in_thread(self.reviews.label, name, self.body()))


def make_application(slides: ViewedSlides, access: Access, threads: ThreadPoolExecutor) -> Application:
    """The application: every address that it answers, each of them guarded."""
    files = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.is_file()}
    page = {"access": access, "files": files}
    data = {"access": access, "slides": slides, "reviews": Reviews(slides), "threads": threads}
    return Application(
        [
            ("/", PageHandler, page),
            (r"/page/([a-z.]+)", PageHandler, page),
            ("/api/start", StartHandler, data),
            (f"/api/slides/{KEY}", SlideHandler, data),
            (f"/api/slides/{KEY}/tiles/{NUMBER}/{NUMBER}/{NUMBER}", TileHandler, data),
            (f"/api/slides/{KEY}/layers", LayersHandler, data),
            (f"/api/slides/{KEY}/tissue", TissueHandler, data),
            (f"/api/slides/{KEY}/cells/{NUMBER}/{NUMBER}", CellHandler, data),
            (f"/api/slides/{KEY}/marks", MarksHandler, data),
            (f"/api/reviews/{NAME}", ReviewHandler, data),
        ],
        default_handler_class=NothingHandler,
        default_handler_args={"access": access},
        log_function=lambda handler: None,  # addresses hold the token
    )


async def serve(out: Path, port: int, opened: Callable[[str], None], until: asyncio.Event) -> None:
    """Serve the results of an output folder until an event.

    Parameters
    ----------
    out : Path
        Folder of results, or that of one slide.
    port : int
        To listen on, of this machine's own address alone; 0 takes one that is free.
    opened : callable
        Called with the address of the page once it can be opened.
    until : Event
        Ends it.

    Raises
    ------
    UsageError
        There are no results, or the port is taken.
    """
    slides = ViewedSlides(out)
    try:
        listening = socket.create_server((ADDRESS, port))
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be listened on ({error.strerror}); give another with --port, or 0 for any that is free"
        ) from error
    listening.settimeout(0)
    access = Access(listening.getsockname()[1])
    with ThreadPoolExecutor(THREADS) as threads:
        server = HTTPServer(make_application(slides, access, threads), max_body_size=MOST_BODY)
        server.add_socket(listening)
        try:
            opened(access.address)
            await until.wait()
        finally:
            server.stop()
            await server.close_all_connections()
            slides.close()


@functools.cache
def _constants() -> dict[str, Any]:
    """What never changes: layers, their colours, labels, and the version."""
    ramp = heat_colours(np.linspace(0, 1, TOP + 1))
    return {
        "version": VERSION,
        "layers": [_layer(each) for each in (CLASSES, *SCALES)],
        "labels": {
            int(label): {"name": LABELS[CellLabel(label)], "title": colour.title, "rgb": colour.rgb}
            for label, colour in PALETTE.items()
        },
        "classes": CLASS_NAMES,
        "ramp": ramp.tolist(),
        "nothing": NOTHING,
        "top": TOP,
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {"column": layer.column, "title": layer.title, "highest": layer.highest, "limit": layer.limit}
