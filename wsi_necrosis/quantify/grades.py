"""Grades of response by cut-offs on a percentage. A scheme is a file; no number is rounded before it is graded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.settings.loading import read_yaml, shipped_names, shipped_yaml, validated
from wsi_necrosis.settings.schema import Section

MOST = 100.0
Percent = Annotated[float, Field(ge=0, le=MOST)]


class Grade(Section):
    """One grade: it begins at `at_least`, or above `above`; the first one of a scheme has neither."""

    name: str
    at_least: Percent | None = None
    above: Percent | None = None

    @property
    def start(self) -> tuple[float, int] | None:
        """Where it begins, in an order in which `above` comes after `at_least` of the same number."""
        if self.at_least is not None:
            return self.at_least, 0
        return None if self.above is None else (self.above, 1)

    def holds(self, percent: float) -> bool:
        """Whether a percentage is not below where the grade begins."""
        if self.at_least is not None:
            return percent >= self.at_least
        return self.above is None or percent > self.above


class GradeScheme(Section):
    """Grades in rising order of a percentage, and which of them are a good response.

    `measure` says of what the cut-offs are: percent `necrosis`, which is 100 - percent viable, or percent `viable`.
    """

    name: str
    title: str
    measure: Literal["necrosis", "viable"]
    policy: Literal["tumour", "tumour_bed"]
    grades: Annotated[tuple[Grade, ...], Field(min_length=2, strict=False)]
    good: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    source: str

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        names = [grade.name for grade in self.grades]
        starts = [grade.start for grade in self.grades]
        if starts[0] is not None or None in starts[1:]:
            raise ValueError("every grade but the first has one of at_least and above")
        if any(grade.at_least is not None and grade.above is not None for grade in self.grades):
            raise ValueError("a grade has at_least or above, not both")
        if starts[1:] != sorted({start for start in starts if start is not None}):
            raise ValueError("grades stand in rising order of their cut-offs")
        if len(set(names)) < len(names) or not set(self.good) < set(names):
            raise ValueError("names of grades differ, and good lists some of them")
        return self

    def grade(self, percent_viable: float) -> str:
        """The grade of a percentage, which is not rounded.

        Examples
        --------
        >>> load_scheme("huvos").grade(10.0), load_scheme("euramos").grade(10.0)
        ('III', 'poor')
        """
        percent = percent_viable if self.measure == "viable" else 100 - percent_viable
        return [grade.name for grade in self.grades if grade.holds(percent)][-1]

    def within(self, low: float, high: float) -> tuple[str, ...]:
        """Grades that an interval of percent viable meets, in the order of the scheme."""
        names = [grade.name for grade in self.grades]
        first, last = sorted(names.index(self.grade(end)) for end in (low, high))
        return tuple(names[first : last + 1])

    def verdict(self, low: float, high: float) -> str:
        """An interval of percent viable in one word: its grades, or "indeterminate" where it meets good and poor ones.

        Examples
        --------
        >>> load_scheme("huvos").verdict(0.0, 6.5), load_scheme("huvos").verdict(4.0, 12.0)
        ('III or IV', 'indeterminate')
        """
        found = self.within(low, high)
        kinds = {name in self.good for name in found}
        return " or ".join(found) if len(kinds) == 1 else "indeterminate"

    def probabilities(self, draws: ArrayLike) -> dict[str, float]:
        """Share of each grade among draws of percent viable, which must cover the classifier's error.

        A grade that a single number makes (no necrosis, or nothing else) is joined with its neighbour: a sample of the
        tissue cannot establish it.

        Examples
        --------
        >>> load_scheme("huvos").probabilities([0.0, 5.0, 60.0, 60.0])
        {'I': 0.5, 'II': 0.0, 'III or IV': 0.5}
        """
        names = [self.grade(float(percent)) for percent in np.asarray(draws, np.float64)]
        return {
            " or ".join(joined): sum(map(names.count, joined)) / len(names) for joined in self._established()
        }

    def _established(self) -> list[list[str]]:
        """Names of grades, those joined that a single number makes: the first below `above: 0`, the last at 100."""
        found = [[grade.name] for grade in self.grades]
        if self.grades[-1].at_least == MOST:
            found[-2:] = [found[-2] + found[-1]]
        if len(found) > 1 and self.grades[1].above == 0:
            found[:2] = [found[0] + found[1]]
        return found


def load_scheme(name_or_file: str | Path) -> GradeScheme:
    """A shipped scheme (huvos, euramos, ccg-pog, iaslc), or one's own by the path of its YAML file.

    Raises
    ------
    SettingsError
        There is no such scheme, or its cut-offs contradict one another.
    """
    own = Path(name_or_file).suffix.lower() in {".yaml", ".yml"}
    shipped = shipped_names("grades")
    if not own and str(name_or_file) not in shipped:
        raise SettingsError(
            f"there is no grade scheme {str(name_or_file)!r}; give {', '.join(shipped)}, or a file of your own that "
            "ends in .yaml"
        )
    tree = read_yaml(name_or_file) if own else shipped_yaml(f"grades/{name_or_file}.yaml")
    try:
        return validated(GradeScheme, tree)
    except SettingsError as error:
        raise SettingsError(f"{name_or_file} is no grade scheme: {error}") from None
