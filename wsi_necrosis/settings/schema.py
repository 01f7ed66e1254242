"""Field types and the base class of all settings."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
ModelName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
]  # may be part of a file's name
BackboneName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._]{0,100}$")]  # of timm; no address to fetch from
Line = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]  # it is shown on terminals
Seed = Annotated[int, Field(ge=0)]


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed stands twice, which would make spreads too small")
    return seeds


Seeds = Annotated[tuple[Seed, ...], Field(min_length=1, strict=False), AfterValidator(_distinct)]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys, values of another type, infinity and NaN."""

    LISTED: ClassVar[str] = "the shipped file in `configs`"  # where all settings are listed

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def facts(self) -> dict[str, Any]:
        """JSON-ready values, from which `model_validate` makes the same settings."""
        return dict(json.loads(self.model_dump_json()))
