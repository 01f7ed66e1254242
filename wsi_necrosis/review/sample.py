"""Draw the cells of a case that a person labels, and keep what was drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.manifest import COUNTED_ROLES
from wsi_necrosis.errors import StoreError, UsageError
from wsi_necrosis.files import write_json
from wsi_necrosis.outside import MODEL_MIB, OutsideError, parse_json, read_text
from wsi_necrosis.report.slide_report import SlideReport, open_results
from wsi_necrosis.report.verify import finished_folders
from wsi_necrosis.review.rule import draw
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.tiling.grid import PixelCount

MOST = 500  # cells of a sheet, which holds two pictures of each: 0.2 GB
REVIEWS = "reviews"  # in the folder of a command's results
NAME = "review"
PLACE = ("x_l0", "y_l0")  # columns of the sheet's tables


@dataclass(frozen=True)
class ReviewSlide:
    """A slide of the case: where it lies, its pixel size in um, its fingerprint, and its folder of results."""

    slide_id: str
    folder: str
    path: str
    mpp_x: float
    mpp_y: float
    fingerprint: str


@dataclass(frozen=True)
class ReviewCell:
    """A drawn cell.

    Attributes
    ----------
    number : int
        1 for the first one that is shown; it says nothing of what the model predicted.
    slide : int
        Place of its slide in `Sample.slides`.
    row, col : int
        In the grid of its slide.
    box_l0 : tuple of float
        Left, top, width and height in level-0 pixels.
    origin_l0 : tuple of int
        Left and top of the slide's bounds, where QuPath's coordinates begin.
    predicted : int
        Class that the model found likeliest, an index into `classes.CLASSES`.
    times : int
        How often it was drawn; its label counts as often.
    """

    number: int
    slide: int
    row: int
    col: int
    box_l0: tuple[float, float, float, float]
    origin_l0: tuple[int, int]
    predicted: int
    times: int

    @property
    def place(self) -> tuple[int, int]:
        """Left and top in whole level-0 pixels, as the sheet's tables have them."""
        return round(self.box_l0[0]), round(self.box_l0[1])

    @property
    def geometry(self) -> dict[str, Any]:
        """Its outline as `outline` gives it."""
        return outline(self.box_l0, self.origin_l0)


def outline(box_l0: tuple[float, float, float, float], origin_l0: tuple[int, int]) -> dict[str, Any]:
    """The outline of a cell (left, top, width, height) as GeoJSON in QuPath's frame, which begins at `origin_l0`."""
    left, top, width, height = box_l0
    x, y = left - origin_l0[0], top - origin_l0[1]
    ring = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    return {"type": "Polygon", "coordinates": [ring]}


@dataclass(frozen=True)
class Sample:
    """Cells of a case that were drawn to be labelled.

    Attributes
    ----------
    name, case : str
        Of the review, and the case as a manifest gives it; empty where there is none.
    seed : int
        Of the draw.
    rounds : bool
        Whether a person may go on until the interval is narrow enough, which the interval accounts for.
    shares : tuple of float
        Share of the tissue area that was predicted as each of `classes.CLASSES`.
    slides : tuple of ReviewSlide
        All slides of the case.
    cells : tuple of ReviewCell
        In the order in which they are shown.
    """

    name: str
    case: str
    seed: int
    rounds: bool
    shares: tuple[float, ...]
    slides: tuple[ReviewSlide, ...]
    cells: tuple[ReviewCell, ...]

    @property
    def labels(self) -> int:
        """Cells drawn, each as often as it was drawn."""
        return sum(cell.times for cell in self.cells)


def sample_cells(
    out: Path,
    labels: int,
    seed: int | None = None,
    *,
    case: str | None = None,
    name: str = NAME,
    rounds: bool = False,
) -> Sample:
    """Draw cells of a case by `rule.draw`, or more cells for a review that was begun, and write `reviews/<name>.json`.

    All cells with tissue may be drawn, also those on which the model abstained. Cells that were drawn before keep their
    numbers and their labels.

    Parameters
    ----------
    out : Path
        Folder of results; or that of one slide.
    labels : int
        Cells to draw in all.
    seed : int, optional
        Of a new review, by default 1; one that was begun keeps its own.
    case : str, optional
        Slides whose manifest gives this case; needed where the results are of several cases. Biopsies, margins and
        others that do not count in a case are left out.
    name : str
        Of the review.
    rounds : bool
        Whether a person may go on until the interval is narrow enough.

    Raises
    ------
    UsageError
        There are no results, or of several cases; a slide stands twice; there are too few cells; or the review was
        begun of other slides, with more cells or with another seed.
    StoreError
        A folder of results is damaged.
    """
    if labels > MOST:
        raise UsageError(f"{labels} cells are too many to look at; draw at most {MOST}")
    reports = _reports_of(out, case)
    before = read_sample(out, name) if sample_path(out, name).is_file() else None
    if before is not None and seed not in {None, before.seed}:
        raise UsageError(
            f"the review {name!r} was begun with seed {before.seed}, not {seed}; leave --seed out, or give a new "
            "review another --name"
        )
    seed = (1 if seed is None else seed) if before is None else before.seed
    slides = tuple(_slide_of(report, out) for report in reports)
    _refuse_twice(slides)
    tables = [_cells_of(report, at) for at, report in enumerate(reports)]
    areas, predicted = (np.concatenate([table[key] for table in tables]) for key in ("area", "predicted"))
    times = Counter(draw(areas, predicted, labels, seed).tolist())
    shares = tuple(float(areas[predicted == at].sum() / areas.sum()) for at in range(len(CLASSES)))
    places = np.concatenate([table["place"] for table in tables])
    drawn = {
        (slide, row, col): (at, times[at])
        for at, (slide, row, col) in enumerate(places.tolist())
        if times[at]
    }
    if before is not None:
        _require_extension(before, slides, drawn)
    numbers = _numbers(before, list(drawn), seed)
    cells = [
        ReviewCell(numbers[key], *key, *_box_of(reports[key[0]], *key[1:]), int(predicted[at]), count)
        for key, (at, count) in drawn.items()
    ]
    cells.sort(key=lambda cell: cell.number)
    rounds = rounds or (before is not None and (before.rounds or labels > before.labels))
    sample = Sample(name, case or "", seed, rounds, shares, slides, tuple(cells))
    write_json(sample_path(out, name, make=True), asdict(sample))
    return sample


def read_sample(out: Path, name: str = NAME) -> Sample:
    """The cells of a review.

    Raises
    ------
    UsageError
        There is no such review.
    StoreError
        Its file is damaged.
    """
    path = sample_path(out, name)
    if not path.is_file():
        raise UsageError(f"{path} is not there; draw cells with `wsi-necrosis review sample {out}`")
    try:
        tree = parse_json(read_text(path, MODEL_MIB))
        return TypeAdapter(Sample).validate_python(tree)
    except (OutsideError, ValidationError) as error:
        raise StoreError(f"{path} is damaged ({str(error).splitlines()[0]}); draw the cells again") from None


def sample_path(out: Path, name: str, *, make: bool = False) -> Path:
    """File of a review's cells; its folder is made if asked for."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"{name!r} is no name of a review; use letters, digits, - and _")
    if make:
        (out / REVIEWS).mkdir(exist_ok=True)
    return out / REVIEWS / f"{name}.json"


def _reports_of(out: Path, case: str | None) -> list[SlideReport]:
    every = [open_results(folder) for folder in finished_folders(out)]
    reports = [each for each in every if each.result.get("manifest", {}).get("role", "") in COUNTED_ROLES]
    if not reports:
        raise UsageError(f"{out} holds no results of slides; give the folder that `run` or `batch` wrote to")
    by_report = [str(report.result.get("manifest", {}).get("case", "")) for report in reports]
    cases = sorted(set(by_report))
    if case is None:
        if len(cases) > 1:
            raise UsageError(
                f"{out} holds results of the cases {', '.join(map(repr, cases))}; name one with --case"
            )
        return reports
    found = [report for report, its_case in zip(reports, by_report, strict=True) if its_case == case]
    if not found:
        raise UsageError(f"{out} holds no results of the case {case!r}, but of {', '.join(map(repr, cases))}")
    return found


def _slide_of(report: SlideReport, out: Path) -> ReviewSlide:
    facts = report.result["provenance"]
    return ReviewSlide(
        slide_id=str(report.result["slide_id"]),
        folder=report.folder.relative_to(out).as_posix(),
        path=str(report.result["path"]),
        mpp_x=facts["slide"]["mpp_x"],
        mpp_y=facts["slide"]["mpp_y"],
        fingerprint=facts["inputs"]["slide"]["fingerprint"],
    )


def _refuse_twice(slides: Sequence[ReviewSlide]) -> None:
    times = Counter(slide.fingerprint for slide in slides)
    twice = sorted(slide.slide_id for slide in slides if times[slide.fingerprint] > 1)
    if twice:
        raise UsageError(
            f"one slide stands under several names ({', '.join(twice)}); keep the results of one of them"
        )


def _cells_of(report: SlideReport, at: int) -> dict[str, NDArray[np.generic]]:
    """Area in mm2, predicted class and place (slide, row, col) of the scored cells of a slide."""
    scores = report.scores()
    row, col = np.nonzero((scores.state == CellState.SCORED) & (scores.px[..., PixelCount.TISSUE] > 0))
    area = scores.px[row, col, PixelCount.TISSUE] * float(scores.px_mm2)
    place = np.stack([np.full(len(row), at), row, col], axis=-1)
    return {"area": area, "predicted": scores.prob[row, col].argmax(axis=-1), "place": place}


def _box_of(
    report: SlideReport, row: int, col: int
) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    grid = report.scores().grid
    width, height = grid.cell_l0
    box = (grid.plane.x_l0 + col * width, grid.plane.y_l0 + row * height, width, height)
    return box, (int(grid.plane.x_l0), int(grid.plane.y_l0))


def _require_extension(
    before: Sample, slides: Sequence[ReviewSlide], drawn: dict[tuple[int, int, int], tuple[int, int]]
) -> None:
    """Check that a review goes on with the same slides and all cells that were drawn before."""
    if [slide.fingerprint for slide in before.slides] != [slide.fingerprint for slide in slides]:
        raise UsageError(
            f"the review {before.name!r} was begun of other slides; give a new one another --name"
        )
    for cell in before.cells:
        if drawn.get((cell.slide, cell.row, cell.col), (0, 0))[1] < cell.times:
            raise UsageError(
                f"the review {before.name!r} was begun with {before.labels} cells of these slides as they were scored "
                "then; ask for more cells, or give a new review another --name"
            )


def _numbers(
    before: Sample | None, keys: list[tuple[int, int, int]], seed: int
) -> dict[tuple[int, int, int], int]:
    """Numbers of cells: those of before keep theirs, the others follow in random order, which tells no class."""
    known = {} if before is None else {(cell.slide, cell.row, cell.col): cell.number for cell in before.cells}
    fresh = [key for key in sorted(keys) if key not in known]
    order = np.random.default_rng((seed, len(known))).permutation(len(fresh))
    return known | {fresh[at]: len(known) + number for number, at in enumerate(order.tolist(), 1)}
