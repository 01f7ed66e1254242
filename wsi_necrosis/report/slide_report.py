"""The results of a slide, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_necrosis.errors import StoreError
from wsi_necrosis.model.quantity import Quantity, read_quantity
from wsi_necrosis.quantify.doubt import ResultWarning
from wsi_necrosis.quantify.sentences import percent_text
from wsi_necrosis.scores.slide_folder import RESULT, SlideFolder
from wsi_necrosis.settings.run import ExportSettings, QuantifySettings, Settings, load_settings

if TYPE_CHECKING:
    from wsi_necrosis.quantify.heatmap import Heatmap
    from wsi_necrosis.quantify.percentage import NecrosisScore
    from wsi_necrosis.scores.block_scores import Scores
    from wsi_necrosis.tiling.mask import Tissue


@dataclass(frozen=True)
class SlideReport:
    """Results of a slide.

    Attributes
    ----------
    folder : Path
        The slide's folder of results.
    result : mapping
        The content of `result.json`.
    settings : Settings
        Under which cells are labelled in `heatmap`.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> result = {"slide_id": "a.svs", "status": "scored", "percent_viable": 41.7, "finding": None}
    >>> print(wn.SlideReport("out/a.svs", result, wn.load_settings()))
    a.svs: 41.7 % viable
    """

    folder: Path
    result: Mapping[str, Any] = field(repr=False)
    settings: Settings = field(repr=False)

    @property
    def percent_viable(self) -> float | None:
        """Percent of the tumour area that is viable, 0 to 100; None where the slide is not evaluable."""
        percent: float | None = self.result["percent_viable"]
        return percent

    @property
    def status(self) -> str:
        """`scored`, or `not_evaluable`; `result["reason"]` says why."""
        return str(self.result["status"])

    @property
    def warnings(self) -> tuple[ResultWarning, ...]:
        """Limitations of the result, each with a code and a sentence."""
        return tuple(ResultWarning(**each) for each in self.result["warnings"])

    @property
    def quantity(self) -> Quantity | None:
        """What was known of the model's percent viable; `wn.measure` takes it to measure again without the model.

        Raises
        ------
        StoreError
            The result is damaged.
        """
        with _whole(self.folder):
            return read_quantity(self.result["provenance"]["model"]["quantity"])

    def scores(self) -> Scores:
        """Scores of every cell of the slide.

        Raises
        ------
        StoreError
            The folder has lost its scores.
        """
        return SlideFolder(self.folder).scores()

    def measure(self, settings: QuantifySettings | None = None) -> NecrosisScore:
        """Measure the slide again from its scores, without its model; errors as `scores`.

        Parameters
        ----------
        settings : QuantifySettings, optional
            Estimator and thresholds; by default those that it was measured with.

        Examples
        --------
        >>> import wsi_necrosis as wn
        >>> _ = wn.write_phantom("small.tiff", side_mm=0.5)
        >>> report = wn.analyse("small.tiff", "small", wn.load_settings(overrides=["model.name=phantom"]))
        >>> report.measure(report.settings.quantify.model_copy(update={"min_tumour_mm2": 0.01})).status
        'scored'
        """
        from wsi_necrosis.quantify.percentage import measure  # readers of slides take half a second to import

        return measure(self.scores(), settings or self.settings.quantify, self.quantity)

    def tissue(self) -> Tissue:
        """Overview and mask of the slide; errors as `scores`."""
        return SlideFolder(self.folder).tissue()

    def heatmap(self) -> Heatmap:
        """Probabilities and labels of all cells over the slide's plane; errors as `scores`."""
        from wsi_necrosis.quantify.heatmap import stitch  # readers of slides take half a second to import

        return stitch(self.scores(), self.settings.quantify)

    def __str__(self) -> str:
        return f"{self.result['slide_id']}: {percent_text(self.result)}"


def open_results(folder: str | Path, settings: Settings | None = None) -> SlideReport:
    """Read the results of a slide that was analysed before; the slide itself is not needed.

    Parameters
    ----------
    folder : str or Path
        The slide's folder of results.
    settings : Settings, optional
        Under which cells are labelled in the heatmap; by default those that the slide was measured with.

    Raises
    ------
    StoreError
        There are no results in it, they are damaged, or another version of this package wrote them.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> _ = wn.write_phantom("small.tiff", side_mm=0.5)
    >>> _ = wn.analyse("small.tiff", "small", wn.load_settings(overrides=["model.name=phantom"]))
    >>> wn.open_results("small").status
    'not_evaluable'
    """
    result = SlideFolder(folder).result()
    return SlideReport(Path(folder), result, settings or _settings_of(Path(folder), result))


def _settings_of(folder: Path, result: Mapping[str, Any]) -> Settings:
    """The default settings, with those of measuring and of exports that a slide was measured with."""
    with _whole(folder):
        own = result["provenance"]["settings"]
        found = {
            "quantify": QuantifySettings.model_validate(own["quantify"]),
            "export": ExportSettings.model_validate(own["export"]),
        }
    return load_settings().model_copy(update=found)


@contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Turn what a damaged result raises into an error that names it."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        what = repr(error).splitlines()[0]  # errors of pydantic have many
        raise StoreError(f"{folder / RESULT} is damaged ({what}); run the slide again") from None
