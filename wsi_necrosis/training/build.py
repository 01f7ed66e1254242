"""Build a tile model: from settings and labelled tiles to a checkpoint folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from wsi_necrosis.claims import claimed
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.looks import look_of
from wsi_necrosis.dataset.reading import layout_of, read_tiles
from wsi_necrosis.dataset.tiles import LabelledTile, cases_of
from wsi_necrosis.errors import ModelError, SettingsError
from wsi_necrosis.files import remove, require_writable
from wsi_necrosis.model.checkpoint import save_checkpoint
from wsi_necrosis.model.conversion import add_network
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.spec import ModelSpec, TrainingData
from wsi_necrosis.model.standardise import Standardiser
from wsi_necrosis.radiomics.recipe import Recipe
from wsi_necrosis.settings.train import TrainSettings, load_train_settings
from wsi_necrosis.training.backbones import initial_backbone, input_of
from wsi_necrosis.training.fit import Fitted
from wsi_necrosis.training.fit_log import write_fit_log
from wsi_necrosis.training.fit_state import heads_of
from wsi_necrosis.training.held_out import PICTURE_DIGITS, HeldOutSummary, summarise_held_out
from wsi_necrosis.training.leave_case_out import FitSetup, Watch, hold_out, silent
from wsi_necrosis.training.quality import quality_ranges
from wsi_necrosis.training.samples import SampleCache

VERSIONED = ("wsi-necrosis", "torch", "timm", "numpy", "scikit-image", "numba")
UNNAMED = "model"
UNUSED_SCALE = (0.5, 0.5, 0.5)  # mean and std of a model without a backbone

Watching = Callable[[int], AbstractContextManager[Watch]]
log = logging.getLogger(__name__)


def unwatched(epochs: int) -> AbstractContextManager[Watch]:
    """Report no progress."""
    return nullcontext(silent)


def train(
    config: str | Path | None = None,
    out: str | Path = "model",
    overrides: Iterable[str] = (),
    *,
    preset: str | None = None,
    watching: Watching = unwatched,
) -> ModelSpec:
    """Train a model, calibrate and evaluate it on left-out cases, and write the checkpoint to a folder.

    An interrupted training resumes when it is started with the same arguments. Its states lie in `fits` in the folder,
    which is deleted at the end. `training.csv` beside the checkpoint holds every epoch of every fit.

    Parameters
    ----------
    config : str or Path, optional
        YAML file over the shipped `configs/train.yaml`.
    out : str or Path
        The checkpoint's folder; `load_model` reads it.
    overrides : iterable of str
        `section.key=value` over both, such as `data.tiles=tiles`, which names the folder of labelled tiles.
    preset : str, optional
        Name of a shipped preset, under the file: "tcia" has what is known of TCIA's tiles, and is applied by itself
        where the tiles lie as in TCIA's download.
    watching : callable, optional
        Given the number of epochs of all fits, it returns a context manager whose value is called with the name of a
        fit and each of its epochs, such as `pipelines.console.fit_progress.fit_bar`.

    Returns
    -------
    ModelSpec
        The checkpoint's description, with its figures on left-out cases.

    Raises
    ------
    WsiNecrosisError
        Settings, tiles or the backbone's weights are missing or do not fit.
    ClaimedError
        Another training writes to this folder.

    Examples
    --------
    >>> import numpy as np, wsi_necrosis as wn
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from wsi_necrosis.slides.phantom import phantom_tiles
    >>> rng = np.random.default_rng(0)
    >>> for place in ("A/non_tumour", "A/non_viable", "A/viable", "B/non_tumour", "B/non_viable", "B/viable"):
    ...     Path("tiles", place).mkdir(parents=True)
    ...     pixels = phantom_tiles(Path(place).name, 1, 64, rng)[0]
    ...     Image.fromarray(pixels).save(Path("tiles", place, "tile.png"))
    >>> small = ["data.tiles=tiles", "data.mpp_um=0.5", "crops.tile_px=32", "crops.per_side=1", "crops.views=1"]
    >>> small += ["network.fusion=radiomics", "network.recipe=phantom", "network.members=1"]
    >>> small += ["fit.epochs=2", "fit.batch=2", "fit.test_seeds=[1]"]
    >>> wn.train(out="model", overrides=small).trained_on.cases
    ('A', 'B')
    """
    out, overrides = Path(out), list(overrides)
    check(load_train_settings(config, overrides, preset))
    require_writable(out)
    settings = settings_for(config, out, overrides, preset)
    with claimed(out) as claim:
        tiles = read_tiles(settings.data, out, Field(settings.crops.tile_px, settings.crops.mpp_um))
        setup = FitSetup.of(SampleCache(tiles).samples(settings), settings, out / "fits")
        seeds = settings.fit.test_seeds
        n_fits = len(seeds) * len(cases_of(tiles)) + settings.network.members
        with watching(n_fits * settings.fit.epochs) as watch:
            setup = replace(setup, watch=watch)
            held = hold_out(setup, seeds)
            members = fit_members(setup)
        summary = summarise_held_out(setup.samples, held, settings)
        spec = describe(tiles, setup.samples.recipe, settings, members[0].standardise, summary)
        quality = quality_ranges(setup.samples, settings.crops.mpp_um, settings.crops.workers)
        spec = replace(spec, quality=quality)
        claim.require()
        spec = save_checkpoint(out, spec, assembled(settings, members).tensors())
        spec = with_network(out, spec)
        histories = {f"member-{at}": fitted.history for at, fitted in enumerate(members, 1)}
        write_fit_log(out / "training.csv", {**held.history, **histories})
        remove(out / "fits")
    log.info("model %s (%s) in %s", spec.name, spec.weights_sha256[:8], out)
    return spec


def settings_for(
    config: str | Path | None, out: Path, overrides: Sequence[str], preset: str | None = None
) -> TrainSettings:
    """Settings of a training into a folder: with the preset of TCIA's tiles where they are, and the model's name.

    Raises
    ------
    SettingsError, DatasetError
        Settings or tiles are missing or do not fit.
    """
    settings = load_train_settings(config, overrides, preset)
    if preset is None and layout_of(settings.data) == "tcia":
        log.info("preset tcia is applied, as these are TCIA's tiles")
        settings = load_train_settings(config, overrides, "tcia")
    if settings.network.name is not None:
        return settings
    named = re.sub(r"[^A-Za-z0-9._-]+", "-", out.resolve().name).lstrip("._-")[:64] or UNNAMED
    return settings.model_copy(update={"network": settings.network.model_copy(update={"name": named})})


def check(settings: TrainSettings) -> None:
    """Refuse settings that cannot be carried out together, before anything is read.

    Raises
    ------
    SettingsError
        Several members would each need a backbone of their own, or there is no backbone to tune.
    """
    tuned = settings.fit.tune in {"partial", "full"}
    if tuned and settings.network.members > 1:
        raise SettingsError(
            f"fit.tune {settings.fit.tune!r} gives each member a backbone of its own, and a checkpoint holds one; "
            "set network.members=1"
        )
    if not settings.network.hidden and settings.network.fusion in {"gate", "concat"}:
        raise SettingsError(
            f"network.fusion {settings.network.fusion!r} joins hidden layers, and network.hidden 0 asks for none; set "
            "network.fusion=mean, or network.hidden=128"
        )
    if settings.fit.tune != "frozen" and settings.network.fusion == "radiomics":
        raise SettingsError(
            f"fit.tune {settings.fit.tune!r} needs a backbone, and network.fusion 'radiomics' has none; "
            "set fit.tune=frozen"
        )


def with_network(out: Path, spec: ModelSpec) -> ModelSpec:
    """Add the converted network to a new checkpoint; the log says so where that is not possible."""
    reason = "OpenVINO is not installed"
    if find_spec("openvino") is not None:
        try:
            return add_network(out)
        except ModelError as error:
            reason = str(error)
    log.warning("model %s holds no converted network, and needs torch to run: %s", spec.name, reason)
    return spec


def fit_members(setup: FitSetup) -> list[Fitted]:
    """The classifiers of the checkpoint, fitted to all tiles; they differ in their seed."""
    first = setup.settings.fit.seed
    return [
        setup.fit(f"member {at + 1}", setup.samples, first + at)
        for at in range(setup.settings.network.members)
    ]


def assembled(settings: TrainSettings, members: Sequence[Fitted]) -> Network:
    """The network of fitted members and the backbone, tuned or with its initial weights."""
    backbone = members[0].backbone
    if backbone is None and settings.network.fusion != "radiomics":
        backbone = initial_backbone(settings.network, settings.fit.seed)
    return Network(backbone, [member.classifier for member in members])


def describe(
    tiles: Sequence[LabelledTile],
    recipe: Recipe,
    settings: TrainSettings,
    standardise: Standardiser,
    summary: HeldOutSummary,
) -> ModelSpec:
    """The checkpoint's description; `tiles` are all that were given, also those of which no crop was learned from."""
    network = settings.network
    with_backbone = network.fusion != "radiomics"
    mean, std = input_of(network) if with_backbone else (UNUSED_SCALE, UNUSED_SCALE)
    data = training_data(tiles, settings)
    notice = network.notice.replace("{n_tiles}", str(data.n_tiles)).replace("{n_cases}", str(len(data.cases)))
    training = settings.model_dump(mode="json")
    del training["data"]["tiles"]  # a local path
    return ModelSpec(
        name=network.name or UNNAMED,
        title=network.title,
        notice=notice,
        backbone=network.backbone if with_backbone else "",
        tile_px=settings.crops.tile_px,
        mpp=settings.crops.mpp_um,
        mean=mean,
        std=std,
        fusion=network.fusion,
        heads=heads_of(settings.fit),
        hidden=network.hidden,
        gate_hidden=network.gate_hidden,
        dropout=network.dropout,
        members=network.members,
        recipe=recipe,
        standardise=standardise,
        normalise=settings.crops.normalise,
        calibration=summary.calibration,
        quantity=summary.quantity,
        ood=summary.ood,
        trained_on=data,
        training=training,
        metrics=dict(summary.metrics),
        created_with={name: version(name) for name in VERSIONED},
    )


def training_data(tiles: Sequence[LabelledTile], settings: TrainSettings) -> TrainingData:
    """Source and licence of the tiles, their cases, and the hashes of their pictures."""
    data = settings.data
    ordered = sorted(tiles, key=lambda tile: tile.sha256)
    return TrainingData(
        source=data.source,
        doi=data.doi,
        licence=data.licence,
        centre=data.centre,
        cases=cases_of(tiles),
        n_tiles=len(tiles),
        pictures=tuple(tile.sha256[:PICTURE_DIGITS] for tile in ordered),
        looks=tuple(look_of(tile.path) for tile in ordered),
    )
