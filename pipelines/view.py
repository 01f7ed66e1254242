"""`wsi-necrosis view`: a local page with slides, their results, and cells to label."""

from __future__ import annotations

import asyncio
import signal
import sys
import webbrowser
from pathlib import Path

from wsi_necrosis.viewer.server import serve

STOPPED_BY = (signal.SIGINT, signal.SIGTERM)


def view(out: Path, port: int, *, browser: bool) -> None:
    """Serve the page until Ctrl-C.

    Parameters
    ----------
    out : Path
        Folder of results, or that of one slide.
    port : int
        To listen on; 0 takes one that is free.
    browser : bool
        Open the page in the user's browser.

    Raises
    ------
    UsageError
        There are no results, or the port is taken.
    """
    asyncio.run(_serve_until_stopped(out, port, browser=browser))


async def _serve_until_stopped(out: Path, port: int, *, browser: bool) -> None:
    stopped = asyncio.Event()
    for number in STOPPED_BY:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
    loop = asyncio.get_running_loop()

    def opened(address: str) -> None:
        sys.stdout.write(
            f"{out} is shown at\n  {address}\nfor this user of this machine alone; Ctrl-C ends it\n"
        )
        sys.stdout.flush()
        if browser:
            webbrowser.open(address)

    await serve(out, port, opened, stopped)
