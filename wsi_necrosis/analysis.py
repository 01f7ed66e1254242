"""Analyse slides: one, or many that follow one another through the same stages on the same workers."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import SupportsFloat

from wsi_necrosis.errors import (
    ClaimedError,
    ClaimLostError,
    InterruptedRunError,
    UnexpectedError,
    WsiNecrosisError,
)
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.pool import WorkerPool
from wsi_necrosis.inference.stats import WorkerStats
from wsi_necrosis.inference.watcher import QuietWatcher, Watcher
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.request import Request
from wsi_necrosis.settings.run import Settings, load_settings
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.stages import Prepared, Scored, finish, finished_result, plan_of, prepare, score

LOOK_AGAIN_S = 2.0  # after slides that another process works on
STAGES = 3  # of a slide, and slides under way at a time: one is prepared, one scored, one finished
log = logging.getLogger(__name__)


def analyse(  # noqa: PLR0913  # options, each given by its name
    slide: str | Path,
    out: str | Path,
    settings: Settings | None = None,
    watcher: Watcher | None = None,
    *,
    mpp: SupportsFloat | Mpp | None = None,
    slide_id: str = "",
    overwrite: bool = False,
    scene: str | int | None = None,
    roi: str | Path | None = None,
    tissue: str | Path | None = None,
) -> SlideReport:
    """Measure percent viable tumour on a slide: find tissue, score tiles, measure, and write every result.

    Finished blocks of an interrupted run with the same inputs are kept; a finished result with the same inputs and
    settings is returned as it is. Work is done in a hidden folder beside `out`, which is renamed to `out` when it is
    complete, so that `out` is there as a whole or not at all. Of several processes one works on a slide at a time;
    another one takes over from a process that has ended or is silent (settings `claims`).

    Parameters
    ----------
    slide : str or Path
        The slide's file.
    out : str or Path
        Folder of the slide's results.
    settings : Settings, optional
        By default the shipped ones; `load_settings(overrides=["model.name=phantom"])` makes others.
    watcher : Watcher, optional
        Receives progress.
    mpp : float or Mpp, optional
        Size of a level-0 pixel in um, instead of what the file says.
    slide_id : str
        The slide's name in tables; by default the file's name.
    overwrite : bool
        Replace results that were made from other inputs; those made from the same inputs are kept, finished or not.
    scene : str or int, optional
        Number (from 1) or name of the image to measure, where a file holds several; by default the largest.
    roi, tissue : str or Path, optional
        GeoJSON of the region of interest, outside which nothing is measured, and of the tissue, in place of what is
        found.

    Returns
    -------
    SlideReport
        Percent viable tumour, warnings, and access to all results.

    Raises
    ------
    SlideError, PixelSizeError, SettingsError, ModelError, UsageError
        Before anything is written.
    ResultsDifferError
        The folder holds scores made from other inputs; nothing is changed.
    ClaimedError
        Another process works on the slide.
    ClaimLostError
        This process was silent for too long, and another one took the slide over.
    FailedBlocksError, SlideChangedError
        Blocks could not be read or scored in two tries, or the slide changed meanwhile. There is no result, and
        finished blocks are kept.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> truth = wn.write_phantom("small.tiff", side_mm=1.0)
    >>> small = ["model.name=phantom", "quantify.min_tumour_mm2=0.05"]
    >>> report = wn.analyse("small.tiff", "results", wn.load_settings(overrides=small))
    >>> abs(report.percent_viable - truth.percent_viable) < 3
    True
    >>> report.scores().prob.shape[-1], report.heatmap().channels.shape[0]
    (3, 4)
    """
    settings = settings or load_settings()
    request = Request(slide, out, slide_id, mpp, overwrite=overwrite, scene=scene, roi=roi, tissue=tissue)
    with WorkerPool(settings.cluster) as pool:
        prepared = prepare(request, settings, pool, WorkerStats())
        return finish(score(prepared, settings, watcher or QuietWatcher(), pool), settings)


def analyse_all(
    requests: Iterable[Request], settings: Settings | None = None, watcher: Watcher | None = None
) -> Generator[tuple[Request, SlideReport | WsiNecrosisError], None, None]:
    """Analyse slides one after another, on the same workers, which keep the model loaded.

    While one slide is scored the next one is opened and its tissue found, and the one before is measured and exported,
    so that no worker waits; no more than these three are in memory. Several processes may analyse the same slides into
    the same folders: each slide is scored once. Slides that another process works on are waited for at the end, and
    taken over from a process that has ended or is silent. A slide that this process lost in this way, because it was
    silent, is waited for, too.

    Parameters
    ----------
    requests : iterable of Request
        Each is taken when the third slide before it has come out.
    settings : Settings, optional
        The same for all slides; by default the shipped ones.
    watcher : Watcher, optional
        Receives the progress of each slide in turn, in a thread of its own.

    Yields
    ------
    (Request, SlideReport or WsiNecrosisError)
        In the order of the requests, but for slides that another process works on, which come last; a slide that
        fails does not end the others.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> _ = wn.write_phantom("small.tiff", side_mm=0.5)
    >>> requests = [wn.Request(name, f"batch/{name}") for name in ("small.tiff", "none.tiff")]
    >>> for request, outcome in wn.analyse_all(requests, wn.load_settings(overrides=["model.name=phantom"])):
    ...     print(request.name, type(outcome).__name__)
    small.tiff SlideReport
    none.tiff SlideError
    """
    settings, watcher = settings or load_settings(), watcher or QuietWatcher()
    with WorkerPool(settings.cluster) as pool:
        pool.require_scheduler()
        waited_for = 0
        while True:
            elsewhere = []
            with closing(_streamed(requests, settings, watcher, pool)) as slides:
                for slide in slides:
                    outcome = slide.outcome()
                    if isinstance(outcome, ClaimLostError):
                        watcher.note(str(outcome))
                    if isinstance(outcome, ClaimedError | ClaimLostError):
                        elsewhere.append(slide.request)
                    else:
                        yield slide.request, outcome
            if not elsewhere:
                return
            if len(elsewhere) != waited_for:
                watcher.note(f"waiting for slides that other processes work on: {len(elsewhere)}")
            requests, waited_for = elsewhere, len(elsewhere)
            time.sleep(min(LOOK_AGAIN_S, settings.claims.heartbeat_s))


def finished_report(request: Request, settings: Settings) -> SlideReport | None:
    """The results of a slide where they are up to date; the slide is opened, and nothing is written.

    Parameters
    ----------
    request : Request
        Slide and folder of its results.
    settings : Settings
        That it would be analysed with.

    Returns
    -------
    SlideReport or None
        None where there is something to do.

    Raises
    ------
    SlideError, PixelSizeError, SettingsError, ModelError, UsageError
        The slide cannot be analysed.
    ResultsDifferError
        The folder holds scores made from other inputs.
    """
    with open_slide(request.slide, request.mpp, scene=request.scene) as slide:
        plan = plan_of(slide, request, settings)
    result = finished_result(request, plan)
    return None if result is None else SlideReport(request.folder, result, settings)


@dataclass(frozen=True)
class _UnderWay:
    """A slide of a batch: its request, its times so far, and its report, which is there when all is done."""

    request: Request
    stats: WorkerStats
    report: Future[SlideReport]

    def outcome(self) -> SlideReport | WsiNecrosisError:
        """What became of the slide, which is waited for; an interruption is raised."""
        try:
            return self.report.result()
        except InterruptedRunError:
            raise
        except WsiNecrosisError as error:
            found = error
        except Exception as error:  # noqa: BLE001  # the boundary of a batch: one slide must not end the others
            found = UnexpectedError.of(error, str(self.request.slide))
        found.stage = list(self.stats.seconds)[-1] if self.stats.seconds else "open"
        return found


class _Going:
    """A watcher that passes progress on, and ends the scoring once it is told to stop."""

    def __init__(self, watcher: Watcher) -> None:
        self.folder_ready, self.scoring, self.note = watcher.folder_ready, watcher.scoring, watcher.note
        self._scored = watcher.scored
        self._stopped = Event()

    def scored(self, tiles: int) -> None:
        """Pass on; or raise what `require` does."""
        self.require()
        self._scored(tiles)

    def require(self) -> None:
        """Refuse to go on after `stop`.

        Raises
        ------
        InterruptedRunError
            Nobody waits for the slides any more.
        """
        if self._stopped.is_set():
            raise InterruptedRunError("stopped; finished blocks are kept, the same command resumes")

    def stop(self) -> None:
        """End the scoring at the next block."""
        self._stopped.set()


def _streamed(
    requests: Iterable[Request], settings: Settings, watcher: Watcher, pool: WorkerPool
) -> Generator[_UnderWay]:
    """Slides in the order of their requests, to be waited for; each stage has a thread that takes one after another.

    When the iterator is closed, a slide whose blocks are all done is finished, and one that is scored stops after its
    next block.
    """
    going, under_way = _Going(watcher), deque[_UnderWay]()

    def scored(prepared: Future[Prepared]) -> Scored | SlideReport:
        ready = prepared.result()
        going.require()
        return score(ready, settings, going, pool)

    def finished(found: Future[Scored | SlideReport]) -> SlideReport:
        return finish(found.result(), settings)

    with ExitStack() as threads:
        opening, scoring, finishing = (threads.enter_context(ThreadPoolExecutor(1)) for _ in range(STAGES))
        threads.callback(going.stop)  # comes first, before the threads are waited for
        for request in requests:
            stats = WorkerStats()
            ready = opening.submit(prepare, request, settings, pool, stats)
            report = finishing.submit(finished, scoring.submit(scored, ready))
            under_way.append(_UnderWay(request, stats, report))
            if len(under_way) == STAGES:
                yield under_way.popleft()
        while under_way:
            yield under_way.popleft()
