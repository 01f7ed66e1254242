"""`wsi-necrosis case`: percent viable and grade of cases, from slides that were measured or outlined before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsi_necrosis.dataset.regions import outlines_of
from wsi_necrosis.errors import UsageError
from wsi_necrosis.export.cases import write_cases
from wsi_necrosis.names import printable
from wsi_necrosis.quantify.case_grades import CaseGrade, grade_of
from wsi_necrosis.quantify.cases import CaseNumber
from wsi_necrosis.quantify.grades import GradeScheme, load_scheme
from wsi_necrosis.report.case_slides import CaseSlide, case_slides, model_number, unmeasured
from wsi_necrosis.review.for_case import of_case, reviewed_number
from wsi_necrosis.scores.slide_folder import SLIDES

MANIFEST_SUFFIX = ".csv"


@dataclass(frozen=True)
class Options:
    """What is asked beside slides: outlines, grades, reviews and whose labels, and the policy of outlines alone."""

    annotations: Path | None = None
    grades: Sequence[str] = ()
    reviews: Sequence[str] = ()
    reader: str | None = None
    policy: str | None = None


@dataclass(frozen=True)
class Case:
    """A case: its numbers from each source, the grades of each by scheme, and the folder of its outlines."""

    name: str
    numbers: tuple[CaseNumber, ...]
    grades: tuple[Mapping[str, CaseGrade], ...]
    slides: tuple[CaseSlide, ...]
    annotations: Path | None = None


def case(source: Path, out: Path | None, options: Options) -> list[Case]:
    """Roll slides up to cases and write `cases.csv` and `cases.json`; no slide is scored.

    Parameters
    ----------
    source : Path
        A manifest, or a folder of results.
    out : Path or None
        Folder of results; by default `source`, where that is one.
    options : Options
        All else.

    Raises
    ------
    UsageError
        There is nothing to roll up, or something in it contradicts itself.
    """
    manifest = source if source.suffix.lower() == MANIFEST_SUFFIX else None
    folder = out or (Path("wsi-necrosis-out") if manifest else source)
    _refuse_without_effect(options)
    schemes = {Path(name).stem: load_scheme(name) for name in options.grades}
    by_case = case_slides(folder, manifest)
    _refuse_unused(options.reviews, folder, by_case)
    if options.annotations is None and not any(slide.result for each in by_case.values() for slide in each):
        raise UsageError(
            f"no slide has results in {folder}; run the batch first, or give outlines with --annotations"
        )
    found = [_case(name, slides, folder, options, schemes) for name, slides in by_case.items()]
    write_cases(folder, [_facts(each) for each in found], list(schemes))
    if (folder / SLIDES).is_dir():
        from wsi_necrosis.report.folder_files import write_common_files  # jinja2, and zarr by the exports

        write_common_files(folder, ["report"])
    return found


def as_json(cases: Sequence[Case]) -> dict[str, Any]:
    """The content of `cases.json`."""
    return {"cases": [_facts(each) for each in cases]}


def _case(
    name: str, slides: Sequence[CaseSlide], out: Path, options: Options, schemes: Mapping[str, GradeScheme]
) -> Case:
    numbers = list(_numbers(name, slides, out, options)) or [unmeasured(slides)]
    grades = ({key: grade_of(number, scheme) for key, scheme in schemes.items()} for number in numbers)
    return Case(name, tuple(numbers), tuple(grades), tuple(slides), options.annotations)


def _numbers(name: str, slides: Sequence[CaseSlide], out: Path, options: Options) -> Iterator[CaseNumber]:
    model = model_number(name, slides)
    if model is not None:
        yield model
        for review in options.reviews:
            if of_case(out, review, slides):
                yield reviewed_number(out, review, options.reader, slides, model)
    if options.annotations is not None:
        from wsi_necrosis.report.drawn_areas import (
            drawn_number,
        )  # readers of slides, which results make unnecessary

        policy = options.policy or ("tumour" if model is None else model.policy)
        yield drawn_number(slides, options.annotations, policy)


def _refuse_without_effect(options: Options) -> None:
    if options.policy is not None and options.annotations is None:
        raise UsageError(
            "--policy is of outlines, which --annotations gives; results have the policy of their run (--set "
            "quantify.policy)"
        )
    if options.reader is not None and not options.reviews:
        raise UsageError("--reader is of a review; name it with --review")


def _refuse_unused(reviews: Sequence[str], out: Path, by_case: Mapping[str, Sequence[CaseSlide]]) -> None:
    for review in reviews:
        if not any(of_case(out, review, slides) for slides in by_case.values()):
            raise UsageError(
                f"the review {review!r} holds no slide of these cases; name one of {out / 'reviews'}"
            )


def _facts(case: Case) -> dict[str, Any]:
    numbers = [
        {**number.to_dict(), "grades": {name: asdict(grade) for name, grade in grades.items()}}
        for number, grades in zip(case.numbers, case.grades, strict=True)
    ]
    slides = [
        {
            "slide_id": slide.name,
            "block": slide.block,
            "role": slide.role,
            "problem": slide.problem,
            "outlines": _outlines(case.annotations, slide),
            "percent_viable": slide.result and slide.result["percent_viable"],
        }
        for slide in case.slides
    ]
    return {"case": case.name, "numbers": numbers, "slides": slides}


def _outlines(annotations: Path | None, slide: CaseSlide) -> str | None:
    """The file of a slide's outlines, for the picture of them in the report; of an anonymised slide no path is kept."""
    path = annotations and outlines_of(annotations, slide.name)
    if path is None:
        return None
    is_anonymised = slide.result is not None and slide.result["path"] == ""
    return "" if is_anonymised else printable(path.resolve())
