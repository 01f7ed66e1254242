"""The description of a checkpoint: the content of `model.json`, read without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import ModelError, SettingsError
from wsi_necrosis.model.calibration import STRICT, Temperature
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.quality import Quality
from wsi_necrosis.model.quantity import Quantity
from wsi_necrosis.model.standardise import Standardiser
from wsi_necrosis.outside import MODEL_MIB, OutsideError, brief, parse_json, read_text, shortened
from wsi_necrosis.provenance import digest
from wsi_necrosis.radiomics.recipe import Recipe
from wsi_necrosis.settings.schema import BackboneName, Fraction, Line, ModelName

FORMAT_VERSION = 3
SPEC_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"
GRAPH_FILE = "network.xml"  # the network as OpenVINO runs it
CONSTANTS_FILE = "network.bin"  # its constants that are not among the weights; OpenVINO asks for this name
NETWORK_FILES = (GRAPH_FILE, CONSTANTS_FILE)
SHIPPED = Path(__file__).parents[1] / "weights"
PICKLES = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt"})
PROSE = frozenset({"title", "notice", "trained_on", "training", "metrics", "created_with"})
WITHOUT_SCORES = PROSE | {"quantity", "quality"}  # fields that do not change the scores of a tile
CHECKPOINT = f"A checkpoint is a folder with {SPEC_FILE} and {WEIGHTS_FILE}"
FIXED_TILES = 16  # of `backend_check.fixed_tiles`

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Channel = Annotated[float, Field(ge=-10, le=10)]
Spread = Annotated[float, Field(gt=1e-3, le=10)]
Width = Annotated[int, Field(ge=0, le=8192)]


def _parse_recipe(tree: Any) -> Recipe:
    """Read a recipe; errors become ValueError, which pydantic reports with the key."""
    try:
        return tree if isinstance(tree, Recipe) else Recipe.from_dict(tree)
    except (SettingsError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(str(error)) from None


def _with_figure(metrics: dict[str, Any]) -> dict[str, Any]:
    """Figures whose macro-F1 of tiles, the one that is shown, is a mean and a standard deviation, or not there."""
    tile = metrics.get("tile", {})
    figure = tile.get("macro_f1") if isinstance(tile, dict) else ()
    known = isinstance(figure, dict) and all(type(figure.get(key)) in {int, float} for key in ("mean", "sd"))
    if figure is not None and not known:
        raise ValueError("tile.macro_f1 has no mean and sd")
    return metrics


def _files_of_network(sha256: dict[str, str]) -> dict[str, str]:
    if set(sha256) != set(NETWORK_FILES):
        raise ValueError(f"the files of a converted network are {' and '.join(NETWORK_FILES)}")
    return sha256


@dataclass(frozen=True)
class TrainingData:
    """What a model was trained on.

    `pictures` are the first 16 digits of the SHA-256 of each tile's file, and `looks` hashes of how the tiles look
    (`dataset.looks`).
    """

    source: Line
    doi: Line
    licence: Line
    centre: Line
    cases: tuple[Line, ...]
    n_tiles: Annotated[int, Field(ge=0)]
    pictures: tuple[Line, ...] = ()
    looks: tuple[Line, ...] = ()
    __pydantic_config__: ClassVar[ConfigDict] = STRICT


@dataclass(frozen=True)
class ConvertedNetwork:
    """The network as OpenVINO runs it, converted when the model was made, and torch's answers to compare it with.

    Attributes
    ----------
    sha256 : dict of str
        Hashes of `NETWORK_FILES`, which lie beside the weights and read them.
    answers : tuple of (float, float, float)
        Class probabilities of `backend_check.fixed_tiles` by torch in float32 on a processor.
    made_with : dict of str
        Versions of the packages that converted it and gave the answers.
    """

    sha256: Annotated[dict[str, Sha256], AfterValidator(_files_of_network)]
    answers: Annotated[
        tuple[tuple[Fraction, Fraction, Fraction], ...],
        Field(min_length=FIXED_TILES, max_length=FIXED_TILES),
    ]
    made_with: dict[Line, Line]
    __pydantic_config__: ClassVar[ConfigDict] = STRICT


@dataclass(frozen=True)
class ModelSpec:
    """Everything that a run needs to know about a model.

    Attributes
    ----------
    name, title, notice : str
        Short name, one-line description, and the line that every run prints.
    backbone : str
        timm name of the image network; empty for a model of radiomics alone.
    tile_px, mpp : int, float
        Side of a tile in pixels, and the size of a pixel in um.
    mean, std : tuple of float
        Of the backbone's own input, for R, G, B in [0, 1].
    fusion : {"gate", "concat", "mean", "image", "radiomics"}
        How the two branches are joined (`mean`: each has heads of its own, and probabilities are averaged), or the
        only branch.
    heads : {"hierarchical", "flat"}
        Tumour or not and then viable or not, or one softmax over three classes.
    hidden, gate_hidden, dropout : int, int, float
        Width of both branches, width of the gate, dropout while training.
    members : int
        Classifiers on the one backbone, whose probabilities are averaged.
    classes : tuple of str
        Order of the probabilities; always `classes.CLASSES`.
    recipe : Recipe
        Which radiomic features are computed, and how.
    standardise : Standardiser
        How these are scaled.
    normalise : {"none", "macenko", "reinhard"}
        How a slide's stains are brought to one standard before anything else.
    calibration : Temperature
        How probabilities of single tiles are corrected, for their uncertainty; what is summed into areas is not.
    quantity : Quantity or None
        Which estimator of percent viable leads, and how far it is off; None where that was not measured.
    ood : OodDetector or None
        How tiles unlike the training tiles are recognised; None where the model cannot.
    quality : Quality or None
        What slides must look like to be fit for it; None where that was not measured.
    trained_on : TrainingData
        Source, licence, cases and centre of the training tiles.
    training : dict
        Settings of the training, as in `configs/train.yaml`, without the location of the tiles.
    metrics : dict
        Leave-case-out figures; empty where there are none.
    created_with : dict
        Versions of the packages that made the weights.
    weights_sha256 : str
        Hash of `model.safetensors`; filled in by `save_checkpoint`.
    converted : ConvertedNetwork or None
        Filled in by `conversion.add_network`; None where each machine converts the network, which needs torch.
    """

    name: ModelName
    title: Line
    notice: Line
    backbone: BackboneName
    tile_px: Annotated[int, Field(ge=8, le=1024)]
    mpp: Annotated[float, Field(ge=0.05, le=20)]
    mean: tuple[Channel, Channel, Channel]
    std: tuple[Spread, Spread, Spread]
    hidden: Width
    gate_hidden: Annotated[int, Field(ge=1, le=8192)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    recipe: Annotated[Recipe, PlainValidator(_parse_recipe), PlainSerializer(Recipe.to_dict)]
    standardise: Standardiser
    trained_on: TrainingData
    fusion: Literal["gate", "concat", "mean", "image", "radiomics"] = "gate"
    heads: Literal["hierarchical", "flat"] = "hierarchical"
    members: Annotated[int, Field(ge=1, le=16)] = 1
    normalise: Literal["none", "macenko", "reinhard"] = "none"
    calibration: Temperature = field(default_factory=Temperature)
    quantity: Quantity | None = None
    ood: OodDetector | None = None
    quality: Quality | None = None
    classes: tuple[str, ...] = CLASSES
    training: dict[str, Any] = field(default_factory=dict)
    metrics: Annotated[dict[str, Any], AfterValidator(_with_figure)] = field(default_factory=dict)
    created_with: dict[Line, Line] = field(default_factory=dict)
    weights_sha256: Sha256 = ""
    converted: ConvertedNetwork | None = None
    format_version: int = FORMAT_VERSION
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    @property
    def fingerprint(self) -> str:
        """Hash of all that determines scores: weights, converted network, and description without `WITHOUT_SCORES`."""
        facts = spec_adapter().dump_python(self, mode="json")
        return digest({key: value for key, value in facts.items() if key not in WITHOUT_SCORES})

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Radiomic features that the model expects, in order."""
        return self.standardise.names


@cache
def spec_adapter() -> TypeAdapter[ModelSpec]:
    """Reader and writer of descriptions; made once, which takes longer than all that a finished slide needs."""
    return TypeAdapter(ModelSpec)


def portable_name(name_or_folder: str | Path) -> str:
    """A shipped model's name, or a folder as an absolute path, which workers with another working folder find."""
    folder = model_folder(name_or_folder)
    return folder.name if folder.parent == SHIPPED else str(folder.resolve())


def list_models() -> tuple[str, ...]:
    """Names of the models that come with the package.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> wn.list_models()
    ('default', 'fast', 'phantom')
    """
    return tuple(sorted(path.parent.name for path in SHIPPED.glob(f"*/{SPEC_FILE}")))


def model_folder(name_or_folder: str | Path) -> Path:
    """Folder of a shipped model's name, or of a path; a shipped name wins over a folder of that name."""
    if str(name_or_folder) in list_models():
        return SHIPPED / str(name_or_folder)
    folder = Path(name_or_folder)
    if folder.suffix.lower() in PICKLES:
        raise ModelError(
            f"{folder} is a pickle, which can run code when it is read; give a checkpoint folder with "
            f"{SPEC_FILE} and {WEIGHTS_FILE}"
        )
    if not folder.is_dir():
        names = ", ".join(list_models())
        raise ModelError(
            f"there is no model {str(folder)!r}; shipped models: {names}; or give a checkpoint folder"
        )
    return folder


def load_spec(name_or_folder: str | Path) -> ModelSpec:
    """Description of a shipped model (by name) or of a checkpoint folder; imports no torch.

    Raises
    ------
    ModelError
        The folder or its description is missing, damaged, or of another format version.
    """
    path = model_folder(name_or_folder) / SPEC_FILE
    try:
        text = read_text(path, MODEL_MIB)
        tree = parse_json(text)
    except OutsideError as error:
        raise ModelError(f"{path} {error}; fetch the model or train it again. {CHECKPOINT}") from None
    version = tree.get("format_version") if isinstance(tree, dict) else None
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path} has format version {brief(version)}, this program reads {FORMAT_VERSION}; use the program "
            "version that made the model, or train it again"
        )
    try:
        spec = spec_adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = brief(".".join(map(str, first["loc"])))[1:-1]
        raise ModelError(
            f"{path} is damaged at {where or 'its top'}: {shortened(first['msg'])}; train it again"
        ) from None
    if spec.recipe.names != spec.feature_names:
        raise ModelError(f"{path} scales other features than its recipe computes; train it again")
    if spec.classes != CLASSES:
        raise ModelError(
            f"{path} has the classes {brief(spec.classes)}, not {CLASSES}; train it on these classes"
        )
    if spec.ood is not None and spec.ood.takes_pure_colours:
        raise ModelError(
            f"{path} is damaged at ood: pure red, green or blue would pass for tissue; train it again"
        )
    _require_branches(spec, path)
    return spec


def _require_branches(spec: ModelSpec, path: Path) -> None:
    """Refuse a fusion with a branch that has no input, or a backbone whose output is not used."""
    if spec.backbone and spec.fusion == "radiomics":
        raise ModelError(f"{path} has fusion 'radiomics' and a backbone all the same; train it again")
    there = {
        "backbone": spec.backbone or spec.fusion == "radiomics",
        "radiomic feature": spec.recipe.names or spec.fusion == "image",
    }
    for name, found in there.items():
        if not found:
            raise ModelError(f"{path} has fusion {spec.fusion!r} and no {name}; train it again")
