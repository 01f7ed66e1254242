"""The slides of cases, as a manifest lists them or as a folder of results holds them, and what they bring."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_necrosis.dataset.faults import listed, plainly
from wsi_necrosis.dataset.manifest import COUNTED_ROLES, ManifestSlide, read_manifest
from wsi_necrosis.errors import StoreError, UsageError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.model.quantity import read_quantity
from wsi_necrosis.names import safe_name
from wsi_necrosis.provenance import differences
from wsi_necrosis.quantify.case_intervals import Bootstrap
from wsi_necrosis.quantify.cases import CaseNumber, CaseRules, SlideAreas, areas_of, case_number
from wsi_necrosis.report.verify import finished_folders
from wsi_necrosis.scores.slide_folder import RESULT, RUNS, SLIDES, SlideFolder

NOT_ANALYSED = "not analysed yet"


@dataclass(frozen=True)
class CaseSlide:
    """A slide of a case.

    Attributes
    ----------
    name, case, block, role : str
        As a manifest gives them; `name` is that of its folder of results, too.
    folder : Path
        Of its results, which may not be there.
    path : Path or None
        The slide, where it is known.
    mpp : Mpp or None
        Size of a level-0 pixel, where the manifest gives it.
    result : mapping or None
        The content of its `result.json`.
    problem : str
        Why there is none.
    """

    name: str
    case: str
    block: str
    role: str
    folder: Path
    path: Path | None = None
    mpp: Mpp | None = None
    result: Mapping[str, Any] | None = None
    problem: str = ""

    @property
    def areas(self) -> SlideAreas:
        """What it brings to its case by the model."""
        if self.result is None:
            return SlideAreas(self.name, self.block, self.role, self.problem)
        return areas_of({**self.result, "slide_id": self.name}, self.block, self.role)


def case_slides(out: Path, manifest: Path | None = None) -> dict[str, list[CaseSlide]]:
    """Slides by case.

    Parameters
    ----------
    out : Path
        Folder of results; it need not be there.
    manifest : Path, optional
        Lists the slides. Without it they are those with results in `out`, and those that batches were asked for in it;
        where none names a case, all are one.

    Raises
    ------
    UsageError
        The manifest is at fault, a slide has no case, there is none, or one slide stands under two names.
    """
    slides = list(_of_folder(out) if manifest is None else _of_manifest(out, manifest))
    source = manifest or out
    if not slides:
        raise UsageError(f"{source} holds no results of slides; give a manifest, or the folder of a batch")
    names = Counter(slide.name for slide in slides)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise UsageError(
            f"{source} lists {listed(twice)} twice; give each slide one line and a slide_id of its own"
        )
    bare = [slide.name for slide in slides if not slide.case]
    if bare and (manifest is not None or len(bare) < len(slides)):
        raise UsageError(f"{source} names no case for {listed(bare)}; fill the column case of the manifest")
    _refuse_equal_content(slides)
    found: dict[str, list[CaseSlide]] = {}
    for slide in slides:
        found.setdefault(slide.case, []).append(slide)
    return dict(sorted(found.items()))


def model_number(case: str, slides: Sequence[CaseSlide]) -> CaseNumber | None:
    """Percent viable of a case by the model's scores; None where no slide has results.

    Raises
    ------
    UsageError
        Its slides were measured by different models or under different settings.
    """
    results = [slide.result for slide in slides if slide.result is not None]
    if not results:
        return None
    first = results[0]
    for other in results[1:]:
        changed = differences(_measured_by(first), _measured_by(other))
        if changed:
            raise UsageError(
                f"slides of case {case!r} were not measured alike: {other['slide_id']} differs from "
                f"{first['slide_id']} in {plainly(changed)}; run all slides of the case with the same command"
            )
    rules = CaseRules(
        source="model",
        policy=first["policy"],
        estimator=first["estimator"],
        min_tumour_mm2=first["provenance"]["settings"]["quantify"]["min_tumour_mm2"],
        definition=_definition(slides),
        limit_of_blank=first["limit_of_blank"],
        limit_of_full=first["limit_of_full"],
        bootstrap=_bootstrap(first),
    )
    return case_number((slide.areas for slide in slides), rules)


def unmeasured(slides: Sequence[CaseSlide]) -> CaseNumber:
    """A case of which no slide has results: no number, and the reason of each slide."""
    return case_number((slide.areas for slide in slides), CaseRules("model", "", "", 0.0, {}))


def _definition(slides: Sequence[CaseSlide]) -> dict[str, str]:
    """That of all slides; where they differ, as in a region of interest, each with the slides that it holds for."""
    of: dict[str, dict[str, list[str]]] = {}
    for slide in [each for each in slides if each.role in COUNTED_ROLES] or slides:
        for name, text in (slide.result or {}).get("definition", {}).items():
            of.setdefault(name, {}).setdefault(text, []).append(slide.name)
    return {
        name: "; ".join(
            text if len(texts) == 1 else f"{text} ({', '.join(on)})" for text, on in texts.items()
        )
        for name, texts in of.items()
    }


def _bootstrap(result: Mapping[str, Any]) -> Bootstrap:
    settings, model = result["provenance"]["settings"]["quantify"], result["provenance"]["model"]
    quantity = read_quantity(model["quantity"])
    patients = () if quantity is None else quantity.of(result["estimator"]).patients
    return Bootstrap(settings["confidence"], settings["bootstrap_draws"], settings["seed"], patients)


def _measured_by(result: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for all slides of a case."""
    provenance = result["provenance"]
    return {
        "schema_version": result["schema_version"],
        "model": {"name": provenance["model"]["name"], "sha256": provenance["model"]["sha256"]},
        "quantify": provenance["settings"]["quantify"],
    }


def _of_manifest(out: Path, manifest: Path) -> Iterator[CaseSlide]:
    reasons = _reasons(out)
    rows, _ = read_manifest(manifest)
    for row in rows:
        name = safe_name(row.slide_id or row.path.name)
        yield _slide(out, name, row.facts, reasons, row)


def _of_folder(out: Path) -> Iterator[CaseSlide]:
    """Finished slides, and those that batches were asked for and that have no results."""
    asked, reasons = _asked(out), _reasons(out)
    finished = {
        folder.relative_to(out / SLIDES).as_posix() for folder in finished_folders(out) if folder != out
    }
    for name in sorted({*asked, *finished}):
        yield _slide(out, name, asked.get(name, {}), reasons)


def _slide(
    out: Path,
    name: str,
    facts: Mapping[str, str],
    reasons: Mapping[str, str],
    row: ManifestSlide | None = None,
) -> CaseSlide:
    folder = out / SLIDES / name
    result, problem = None, reasons.get(name, NOT_ANALYSED)
    if (folder / RESULT).is_file():
        try:
            result, problem = SlideFolder(folder).result(), ""
        except StoreError as error:
            problem = str(error)
    if result is not None and row is None:
        facts = result["manifest"]
    return CaseSlide(
        name=name,
        case=facts.get("case", ""),
        block=facts.get("block", ""),
        role=facts.get("role", ""),
        folder=folder,
        path=None if row is None else row.path,
        mpp=None if row is None else row.mpp,
        result=result,
        problem=problem,
    )


def _runs(out: Path) -> list[Mapping[str, Any]]:
    """Records of all batches, the earliest first; those that cannot be read have no say."""
    found = []
    for path in (out / RUNS).glob("*.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found.append(
                (str(record["started"]), {"asked": dict(record["asked"]), "slides": dict(record["slides"])})
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [record for _, record in sorted(found, key=lambda each: each[0])]


def _asked(out: Path) -> dict[str, Mapping[str, str]]:
    """What batches were told of their slides, by name."""
    return {name: facts for record in _runs(out) for name, facts in record["asked"].items()}


def _reasons(out: Path) -> dict[str, str]:
    """Why slides failed, by name, as the last batch says it."""
    return {
        name: "failed: " + "; ".join(each["message"] for each in facts["failures"])
        for record in _runs(out)
        for name, facts in record["slides"].items()
        if facts["failures"]
    }


def _refuse_equal_content(slides: Sequence[CaseSlide]) -> None:
    by_content: dict[str, list[str]] = {}
    for slide in slides:
        if slide.result is not None:
            fingerprint = slide.result["provenance"]["inputs"]["slide"]["fingerprint"]
            by_content.setdefault(fingerprint, []).append(slide.name)
    twice = [" and ".join(names) for names in by_content.values() if len(names) > 1]
    if twice:
        raise UsageError(
            f"one slide stands under several names ({plainly(twice)}), which would count it twice; keep one of them"
        )
