"""`wsi-necrosis batch`: analyse many slides into one folder of results."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from wsi_necrosis.analysis import analyse_all, finished_report
from wsi_necrosis.claims import unfinished
from wsi_necrosis.dataset.manifest import read_mpp_table
from wsi_necrosis.errors import InterruptedRunError, ResultsDifferError, StoreError, WsiNecrosisError
from wsi_necrosis.export.summary import SUMMARY, write_summary
from wsi_necrosis.files import require_writable
from wsi_necrosis.model.loading import choose_backend
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.request import Request, working_on
from wsi_necrosis.scores.slide_folder import RUNS, SLIDES, SlideFolder
from wsi_necrosis.scores.work_folder import lease_of, tidy
from wsi_necrosis.settings.run import Settings

from ..console.batch_log import BatchLog
from ..console.batch_progress import BatchWatcher
from ..console.locked import ending_when_locked
from ..console.signals import interruptible
from .anonymise import Anonymiser
from .inputs import BatchSlide, Gathered, Where, gather
from .records import FAILED, FAILURES, FINISHED, INTERRUPTED, RunRecord, failures_of

ALL_DONE, SOME_FAILED, NONE_SUCCEEDED = 0, 3, 4  # exit codes
SHOWN = 20
log = logging.getLogger(__name__)

Tell = Callable[[str], None]
Scrub = Callable[[str], str]


@dataclass(frozen=True)
class Options:
    """What a batch is asked, but for its slides and settings.

    Attributes
    ----------
    out : Path
        Folder of results.
    where : Where
        How slides are looked for, and their pixel sizes.
    overwrite : bool
        Replace results that were made from other inputs; those made from the same inputs are kept, finished or not.
    fail_fast : bool
        Stop at the first slide that fails; one that is all scored by then is finished.
    command : sequence of str
        As it was typed; kept in the record.
    key : Path or None
        Key under which slides are anonymised; their names stay out of all that is written.
    """

    out: Path
    where: Where = field(default_factory=Where)
    overwrite: bool = False
    fail_fast: bool = False
    command: Sequence[str] = field(default_factory=lambda: ("wsi-necrosis", *sys.argv[1:]))
    key: Path | None = None


def batch(
    named: Sequence[str],
    settings: Settings,
    options: Options,
    watcher: BatchWatcher,
    tell: Tell | None = None,
) -> int:
    """Analyse slides one after another; one that fails does not end the others.

    Parameters
    ----------
    named : sequence of str
        As `inputs.gather` takes them.
    settings : Settings
        The same for all slides.
    options : Options
        All else.
    watcher : BatchWatcher
        Receives the progress.
    tell : callable, optional
        Receives a line of JSON for each slide.

    Returns
    -------
    int
        The exit code: 0 where no slide failed, 3 where some did, 4 where all did.

    Raises
    ------
    WsiNecrosisError
        Before any slide is touched: no slides, unclear names, settings, model or scheduler, an output that cannot be
        written, or results in it that were made from other inputs. And on Ctrl-C and SIGTERM.
    """
    gathered = gather(named, options.where)
    for each in (*gathered.warnings, *(f"{it.path} is left out: {it.reason}" for it in gathered.skipped)):
        watcher.note(each)
    chosen = with_backend(settings)
    scrub: Scrub = str
    shown = settings.model_dump()
    if options.key is not None:
        anonymiser = _anonymiser(options.key, named, settings, options)
        gathered, scrub = anonymiser.gathered(gathered), anonymiser.scrub
        options = replace(options, command=("wsi-necrosis", "batch", "--anonymise"))
        shown = anonymiser.scrub_tree(shown)
    with interruptible(), ending_when_locked(settings.cluster.block_limit_s):
        found, requests = _sort_out(gathered, chosen, options)
        require_writable(options.out)
        record = RunRecord(options.out, shown, options.command, gathered)
        reporter = _Reporter(record, watcher, tell, settings.export.formats)
        for slide, request in found:
            tidy(request.folder, lease_of(settings.claims))
            reporter.was_done(
                slide, SlideReport(request.folder, SlideFolder(request.folder).result(), settings)
            )
        watcher.starting(record.total, record.done)
        record.write()
        _analyse(requests, chosen, reporter, scrub, fail_fast=options.fail_fast)
    if not record.failed:
        return ALL_DONE
    return SOME_FAILED if record.done else NONE_SUCCEEDED


def _anonymiser(key: Path, named: Sequence[str], settings: Settings, options: Options) -> Anonymiser:
    """Codes for slides, and texts without any path that the command names."""
    table, model = options.where.mpp_table, settings.model.name
    own_model = [model] if Path(model).exists() else []  # and no shipped one
    given = (table, options.where.roi, options.where.tissue)
    paths: list[str | Path] = [*named, *own_model, *(each for each in given if each is not None)]
    made = Anonymiser(key, options.out, map(Path, paths))
    for name in own_model:
        made.hide(name, "a model")
    for name in read_mpp_table(table) if table is not None else ():
        made.hide(name, "a slide")  # which may not be in the batch
    return made


def with_backend(settings: Settings) -> Settings:
    """The settings with device, library and number format chosen: once, and not again for each slide.

    Raises
    ------
    ModelError, UsageError
        A missing model or device is no fault of the slides, and ends the batch here.
    """
    backend = choose_backend(settings.model)
    chosen = {"device": backend.device, "backend": backend.name, "dtype": backend.dtype}
    return settings.model_copy(update={"model": settings.model.model_copy(update=chosen)})


def line_of(slide: BatchSlide, outcome: SlideReport | WsiNecrosisError) -> str:
    """What became of a slide, as one line of JSON: its `result.json`, or its row of `failures.csv`."""
    if isinstance(outcome, WsiNecrosisError):
        (failure,) = failures_of(slide, outcome)
        facts = {"slide_id": slide.name, "status": FAILED, **asdict(failure)}
        return json.dumps({name: value for name, value in facts.items() if name != "slide"})
    return json.dumps({**outcome.result, "results": f"{SLIDES}/{slide.name}"})


def _sort_out(
    gathered: Gathered, settings: Settings, options: Options
) -> tuple[list[tuple[BatchSlide, Request]], list[tuple[BatchSlide, Request]]]:
    """Requests for slides whose results are up to date, and for the others; nothing is written.

    Raises
    ------
    ResultsDifferError
        Slides have results that were made from other inputs, and are not to be replaced; all of them are listed.
    """
    found: list[tuple[BatchSlide, Request]] = []
    to_do: list[tuple[BatchSlide, Request]] = []
    differing: list[str] = []
    for slide in gathered.slides:
        request = request_of(slide, options)
        try:
            is_done = is_finished(request, settings)
        except ResultsDifferError as error:
            is_done = False
            differing.append(str(error))
        except WsiNecrosisError:
            is_done = False  # its analysis fails in the same way, and says so
        (found if is_done else to_do).append((slide, request))
    if differing:
        more = f"\n... and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise ResultsDifferError(
            f"{len(differing)} of {len(gathered.slides)} slides have results in {options.out} that were made from "
            "other inputs; nothing was done. Give --overwrite to replace them, or another folder with -o:\n"
            + "\n".join(differing[:SHOWN])
            + more
        )
    return found, to_do


def is_finished(request: Request, settings: Settings) -> bool:
    """Whether the results of a slide are up to date; errors as `finished_report`. A slide without any is not opened."""
    begun = SlideFolder(request.folder).has_scores or unfinished(request.folder) is not None
    return begun and finished_report(request, settings) is not None


def request_of(slide: BatchSlide, options: Options) -> Request:
    """What to analyse, and where its results go."""
    folder = options.out / SLIDES / slide.name
    return Request(
        slide.path, folder, slide.name, slide.mpp,
        overwrite=options.overwrite, manifest=slide.facts, with_path=not slide.is_anonymous, scene=slide.scene,
        roi=slide.roi, tissue=slide.tissue,
    )  # fmt: skip


@dataclass(frozen=True)
class _Reporter:
    """Who is told what became of a slide: the record, the terminal, and a program that reads JSON."""

    record: RunRecord
    watcher: BatchWatcher
    tell: Tell | None
    formats: Sequence[str]

    def was_done(self, slide: BatchSlide, report: SlideReport) -> None:
        """The slide's results are up to date."""
        self.record.add(slide, report, was_done=True)
        self._tell(slide, report)

    def ended(self, slide: BatchSlide, outcome: SlideReport | WsiNecrosisError) -> None:
        """The slide was analysed, or failed."""
        self.record.add(slide, outcome)
        if isinstance(outcome, WsiNecrosisError):
            self.watcher.slide_ended(f"{slide.name}: failed ({outcome.stage}): {outcome}", failed=True)
        else:
            self.watcher.slide_ended(str(outcome), failed=False)
            for failure in failures_of(slide, outcome):  # of exports
                self.watcher.note(f"{slide.name}: {failure.message}; {failure.way_out}")
        self._tell(slide, outcome)
        if self.record.is_due():
            try:
                self.record.write()
            except StoreError as error:  # a disk that is full now may have room later
                log.warning("%s", error)

    def closed(self, state: str) -> None:
        """The batch is over: write record and tables."""
        self.record.write(state)
        write_summary(self.record.out)
        summary, notes = self.record.out / SUMMARY, list[str]()
        if summary.exists():
            from wsi_necrosis.report.folder_files import write_common_files  # as in `stages.finish`

            notes += [each.text for each in write_common_files(self.record.out, self.formats)]
            notes.append(f"results are in {summary}")
        if self.record.has_failures:
            notes.append(f"what failed is in {self.record.out / FAILURES}")
        self.watcher.note("; ".join(notes) or "no slide has results yet")

    def _tell(self, slide: BatchSlide, outcome: SlideReport | WsiNecrosisError) -> None:
        if self.tell is not None:
            self.tell(line_of(slide, outcome))


def _analyse(
    requests: Sequence[tuple[BatchSlide, Request]],
    settings: Settings,
    reporter: _Reporter,
    scrub: Scrub,
    *,
    fail_fast: bool,
) -> None:
    """Analyse what is to do; record and tables are written in any case."""
    record = reporter.record
    try:
        with BatchLog(reporter.watcher, record.out / RUNS / f"{record.run_id}.log", scrub) as logs:
            for slide, request, outcome in _outcomes(requests, settings, logs):
                if isinstance(outcome, WsiNecrosisError):
                    with working_on(request):
                        log.error("%s failed: %s", slide.name, outcome, exc_info=outcome.__cause__)
                    outcome.args = (scrub(str(outcome)),)
                logs.slide_ended(request.folder)
                reporter.ended(slide, outcome)
                if record.failed and fail_fast:
                    break
    except InterruptedRunError as error:
        reporter.closed(INTERRUPTED)
        ended = record.done + record.failed
        raise InterruptedRunError(f"{error}. {ended} of {record.total} slides were done") from None
    except BaseException:
        reporter.closed(INTERRUPTED)
        raise
    reporter.closed(FINISHED)


def _outcomes(
    requests: Sequence[tuple[BatchSlide, Request]], settings: Settings, logs: BatchLog
) -> Generator[tuple[BatchSlide, Request, SlideReport | WsiNecrosisError]]:
    if not requests:
        return
    with closing(analyse_all((request for _, request in requests), settings, logs)) as outcomes:
        slides = {request.folder: slide for slide, request in requests}
        for request, outcome in outcomes:  # those that other processes work on come last
            yield slides[request.folder], request, outcome
