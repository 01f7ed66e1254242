"""Pan over a slide in Chromium: how long tiles take from the viewer, and from static files of the same bytes.

    python benchmarks/viewer.py OUT --steps 40 --rounds 3

OUT holds the results of one slide. The page moves by half its width over the slide at one screen pixel per slide pixel,
and waits for all tiles at each step. A tile's time is that of the browser's resource timing: until it is there
(`duration`, with the wait for a free connection), and from its request on. Both servers are tornado in a process of
their own; for the static files the page is the viewer's, but for the tiles. Rounds of both alternate. Prints rows for
RESULTS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright
from slides import processor
from tornado.web import Application, StaticFileHandler

from wsi_necrosis.viewer import server

COMMANDS = {
    "viewer": [sys.executable, "-m", "wsi_necrosis.pipelines.cli", "view", "--no-browser"],
    "static": [sys.executable, __file__, "--static"],
}
SETTLED = "viewer.image.osd.world.getItemAt(0)?.getFullyLoaded() && document.body.dataset.slide"
TIMES = """performance.getEntriesByType('resource').filter(each => each.name.includes('/tiles/')).map(each =>
    [new URL(each.name).pathname, each.duration, each.responseEnd - each.requestStart])"""


@contextmanager
def running(command: list[str]) -> Iterator[tuple[str, int]]:
    """Address and process of a server."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        address = next(found[0] for line in process.stdout or () if (found := re.search(r"http://\S+", line)))
        try:
            yield address, process.pid
        finally:
            process.terminate()


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def pan(browser: Browser, address: str, steps: int) -> tuple[list[list[Any]], float]:
    """Path and times in ms of each tile, and seconds from opening the page until all is seen."""
    page = browser.new_page(viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
    page.add_init_script("performance.setResourceTimingBufferSize(100000)")
    begun = time.monotonic()
    page.goto(address)

    def settle() -> None:
        while not page.evaluate(f"Boolean(globalThis.viewer && {SETTLED})"):
            page.wait_for_timeout(10)

    settle()
    first_view = time.monotonic() - begun
    page.evaluate("performance.clearResourceTimings()")
    page.evaluate("""(() => { const [w, h] = viewer.slide.size_l0; const main = document.querySelector('main');
        viewer.image.show(w * .25, h * .45, main.clientWidth, main.clientHeight, 0, true); })()""")
    settle()
    page.evaluate("performance.clearResourceTimings()")
    for step in range(steps):
        across, down = ((2.5, 0), (2.5, 0), (0, 2.5))[step % 3]
        page.evaluate(f"viewer.image.pan({across}, {down})")
        settle()
    found = page.evaluate(TIMES)
    page.close()
    return found, first_view


def save(address: str, paths: list[str], folder: Path) -> None:
    """Write the tiles of these paths as files."""
    base, token = address.split("/?token=")
    port = base.rpartition(":")[2]
    for path in paths:
        request = urllib.request.Request(base + path, headers={"Cookie": f"wsi-necrosis-{port}={token}"})  # noqa: S310
        file = folder / path.partition("/tiles/")[2]
        file.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            file.write_bytes(answer.read())


def serve_static(out: Path, folder: Path) -> None:
    """The viewer, but for tiles, which are files of a folder; the others of the slide come from the viewer."""
    make = server.make_application

    def with_files(*given: Any) -> Application:
        application = make(*given)
        names = "|".join(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
        pattern = rf"/api/slides/[0-9a-f]+/tiles/({names})"
        application.add_handlers(".*", [(pattern, StaticFileHandler, {"path": str(folder)})])
        return application

    server.make_application = with_files
    asyncio.run(server.serve(out, 0, lambda address: print(address, flush=True), asyncio.Event()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--static", type=Path, help=argparse.SUPPRESS)  # of the child that serves files
    asked = parser.parse_args()
    if asked.static:
        serve_static(asked.out, asked.static)
        return
    print(f"{processor()}, {datetime.now(UTC):%Y-%m-%d}, {asked.steps} steps, {asked.rounds} rounds")
    print(
        "| server | tiles | median ms | 95 % ms | of the request: median ms | 95 % ms | first view s | peak MB |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    times: dict[str, list[np.ndarray]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        folder = Path(scratch)
        for name in ["viewer", *COMMANDS] + list(COMMANDS) * (asked.rounds - 1):
            command = COMMANDS[name] + ([scratch] if name == "static" else []) + [str(asked.out)]
            with running(command) as (address, pid):
                found, first_view = pan(browser, address, asked.steps)
                if not any(
                    folder.iterdir()
                ):  # the first round is for the files, and to warm the disk's cache
                    save(address, [path for path, *_ in found], folder)
                    continue
                took = np.array([row[1:] for row in found], float)
                times[name].append(took)
                columns = [*np.percentile(took, (50, 95), axis=0).T.ravel(), first_view]
                cells = " | ".join(f"{value:.1f}" for value in columns)
                print(f"| {name} | {len(took)} | {cells} | {peak_mb(pid):.0f} |", flush=True)
        browser.close()
    joined = {name: np.percentile(np.concatenate(each), 95, axis=0) for name, each in times.items()}
    ratios = joined["viewer"] / joined["static"]
    print(f"95th percentile over that of static files: {ratios[0]:.2f}; of the request alone {ratios[1]:.2f}")


if __name__ == "__main__":
    main()
