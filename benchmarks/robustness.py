"""How stable each radiomic feature is under changes of stain, compression, pixel size and
rotation, and how well it tells classes and cases apart.

    python benchmarks/robustness.py

Measures recipe `full` on crops of the labelled tiles (WSI_NECROSIS_DATA, else ../shared/data), unchanged
and changed, and on the nuclei of the same fields at 0.5 um/px. Writes docs/radiomics-robustness.csv and
the section between the markers of docs/radiomics.md; takes about a minute on one core.
"""

from __future__ import annotations

import csv
import os
import platform
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.stats import f, rankdata

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.files import atomic_write
from wsi_necrosis.model.standardise import Standardiser
from wsi_necrosis.radiomics.extraction import extract, prepare
from wsi_necrosis.radiomics.recipe import RECIPES, Feature
from wsi_necrosis.settings.train import load_train_settings
from wsi_necrosis.stain.separation import optical_density, stain_matrix
from wsi_necrosis.tiling.foreground import foreground

ROOT = Path(__file__).resolve().parents[1]
PAGE, TABLE = ROOT / "docs" / "radiomics.md", ROOT / "docs" / "radiomics-robustness.csv"
BEGIN, END = "<!-- robustness: begin -->", "<!-- robustness: end -->"

Numbers = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
Change = Callable[[Image.Image, Box, np.random.Generator], Pixels]
Names = npt.NDArray[np.str_]
Pair = tuple[Numbers, Numbers]

RECIPE = RECIPES["full"]
# Both are above 0 where a crop holds a whole nucleus and a second one: where every feature of nuclei is defined.
DEFINED = [RECIPE.names.index(f"nuclei_{name}") for name in ("area_um2_mean", "neighbour_um_mean")]
OF_NUCLEI = np.array([feature.mask == "nuclei" for feature in RECIPE.features])
SOURCE_MPP, CROP_PX, REDUCTION = 0.5, 224, 2
TOPS = (88, 488)  # of crops in source px: far enough inside for a crop turned by 30 degrees
FIELD_PX = CROP_PX * REDUCTION
JPEG_MARGIN = 36  # an odd multiple of 4, so that blocks do not fall on those of the tiles' own compression
CLIP, GUARD = 5.0, 1e-6  # of the standard scores, as in configs/train.yaml
SEED = 20260109
LEAST_ICC, MOST_CASE_LEAD = 0.75, 0.2
TOLD = ("class", "case", "class AUC in Case-4")
RULE = ("stain", "JPEG 80", "JPEG 95", "mpp +5 %", "mpp -5 %", "90°", "30°")


def plain(tile: Image.Image, box: Box, _: np.random.Generator) -> Pixels:
    return np.asarray(tile.crop(box).reduce(REDUCTION))


def fine(tile: Image.Image, box: Box, _: np.random.Generator) -> Pixels:
    return np.asarray(tile.crop(box))


def stained(tile: Image.Image, box: Box, rng: np.random.Generator) -> Pixels:
    """Scale and shift haematoxylin and eosin at scan resolution; what neither explains stays."""
    matrix = stain_matrix()
    densities = optical_density(np.asarray(tile.crop(box))) @ np.linalg.inv(matrix)
    densities[..., :2] *= rng.uniform(0.9, 1.1, 2)
    densities[..., :2] += rng.uniform(-0.02, 0.02, 2)
    rgb = np.rint(256 * np.exp(-densities @ matrix) - 1).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(rgb).reduce(REDUCTION))


def compressed(tile: Image.Image, box: Box, _: np.random.Generator, *, quality: int) -> Pixels:
    """Compress the field with a margin at scan resolution, colours halved (4:2:0)."""
    left, top, right, bottom = box
    around = (left - JPEG_MARGIN, top - JPEG_MARGIN, right + JPEG_MARGIN, bottom + JPEG_MARGIN)
    file = BytesIO()
    tile.crop(around).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    inside = (JPEG_MARGIN, JPEG_MARGIN, JPEG_MARGIN + FIELD_PX, JPEG_MARGIN + FIELD_PX)
    with Image.open(file) as image:
        return np.asarray(image.crop(inside).reduce(REDUCTION))


def scaled(tile: Image.Image, box: Box, _: np.random.Generator, *, factor: float) -> Pixels:
    """Give pixels `factor` times the stated size: a crop sees that much more around the same centre."""
    grow = FIELD_PX * (factor - 1) / 2
    around = (box[0] - grow, box[1] - grow, box[2] + grow, box[3] + grow)
    size = (FIELD_PX, FIELD_PX)
    return np.asarray(tile.resize(size, Image.Resampling.BICUBIC, box=around).reduce(REDUCTION))


def quarter_turn(tile: Image.Image, box: Box, rng: np.random.Generator) -> Pixels:
    return np.rot90(plain(tile, box, rng)).copy()


def turned(tile: Image.Image, box: Box, _: np.random.Generator) -> Pixels:
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return np.asarray(tile.rotate(30, Image.Resampling.BICUBIC, center=centre).crop(box).reduce(REDUCTION))


CHANGES: dict[str, Change] = {
    "stain": stained,
    "JPEG 60": partial(compressed, quality=60),
    "JPEG 80": partial(compressed, quality=80),
    "JPEG 95": partial(compressed, quality=95),
    "mpp +5 %": partial(scaled, factor=1.05),
    "mpp -5 %": partial(scaled, factor=0.95),
    "90°": quarter_turn,
    "30°": turned,
}
ON_A_DISC = ("30°",)


def crops_of(tiles: Sequence[LabelledTile], change: Change) -> Pixels:
    """Four crops of each tile, in the order of the tiles."""
    rng = np.random.default_rng(SEED)
    boxes = [(left, top, left + FIELD_PX, top + FIELD_PX) for top in TOPS for left in TOPS]
    crops: list[Pixels] = []
    for tile in tiles:
        with Image.open(tile.path) as image:
            rgb = image.convert("RGB")
        crops.extend(change(rgb, box, rng) for box in boxes)
    return np.stack(crops)


def measure(crops: Pixels, *, disc: bool) -> Numbers:
    """Features of crops; `disc` measures the largest disc alone, which holds the same tissue at any angle."""
    masks = foreground(crops)
    side = crops.shape[1]
    if disc:
        offsets = np.arange(side) - (side - 1) / 2
        masks &= np.hypot(offsets, offsets[:, None]) <= side / 2
    features: Numbers = extract(crops, masks, RECIPE, SOURCE_MPP * FIELD_PX / side)[0]
    return features


def icc(one: Numbers, other: Numbers) -> Numbers:
    """ICC(A,1) = ICC(2,1) of each column of two (n, F) tables; NaN where nothing varies.

    Shrout PE, Fleiss JL (1979), Psychol Bull 86:420-428; McGraw KO, Wong SP (1996), Psychol Methods 1:30-46.
    """
    both = np.stack([one, other])
    k, n = both.shape[:2]
    mean = both.mean(axis=(0, 1))
    of_rows, of_columns = both.mean(axis=0), both.mean(axis=1)
    rows = k * ((of_rows - mean) ** 2).sum(axis=0) / (n - 1)
    columns = n * ((of_columns - mean) ** 2).sum(axis=0) / (k - 1)
    residual = ((both - of_rows - of_columns[:, None] + mean) ** 2).sum(axis=(0, 1)) / ((n - 1) * (k - 1))
    whole = rows + (k - 1) * residual + k / n * (columns - residual)
    return np.asarray(np.divide(rows - residual, whole, out=np.full_like(rows, np.nan), where=whole > 0))


def residual_variance(ranks: Numbers, *groupings: Names) -> Numbers:
    """Variance of each column that group means leave, over its degrees of freedom."""
    design = np.hstack(
        [np.ones((len(ranks), 1)), *[(group[:, None] == np.unique(group)[1:]) * 1.0 for group in groupings]]
    )
    left = ranks - design @ np.linalg.lstsq(design, ranks)[0]
    found: Numbers = (left**2).sum(axis=0) / (len(ranks) - design.shape[1])
    return found


def explained_beyond(ranks: Numbers, group: Names, given: Names) -> Numbers:
    """Share of the variance within `given` that `group` explains, adjusted: 0 by chance, 1 at most."""
    within = residual_variance(ranks, given)
    left = residual_variance(ranks, given, group)
    return np.asarray(1 - np.divide(left, within, out=np.ones_like(within), where=within > 0))


def chance_limit(n: int, groups: int, others: int) -> float:
    """The 95th percentile of `explained_beyond` for features of noise."""
    tested, free = groups - 1, n - groups - others + 1
    return float(1 - (1 + tested / free) / (1 + tested / free * f.ppf(0.95, tested, free)))


def mean_auc(values: Numbers, groups: Names) -> Numbers:
    """Mean over the groups of the one-against-the-rest AUC of each column, each turned to 0.5 or more."""
    ranks = rankdata(values, axis=0)
    found = []
    for name in np.unique(groups):
        chosen = groups == name
        n = int(chosen.sum())
        auc = (ranks[chosen].sum(axis=0) - n * (n + 1) / 2) / (n * (len(groups) - n))
        found.append(np.maximum(auc, 1 - auc))
    return np.asarray(np.mean(found, axis=0))


def association(values: Numbers, tiles: Sequence[LabelledTile]) -> dict[str, Numbers]:
    """How well each feature, averaged over a tile's crops, tells classes and cases apart."""
    by_tile = values.reshape(len(tiles), -1, values.shape[1]).mean(axis=1)
    ranks = rankdata(by_tile, axis=0)
    classes, cases = groups_of(tiles)
    four = cases == "Case-4"
    return {
        "class": explained_beyond(ranks, classes, cases),
        "case": explained_beyond(ranks, cases, classes),
        "class AUC": mean_auc(by_tile, classes),
        "case AUC": mean_auc(by_tile, cases),
        "class AUC in Case-4": mean_auc(by_tile[four], classes[four]),
    }


def groups_of(tiles: Sequence[LabelledTile]) -> tuple[Names, Names]:
    """Class and case of each tile."""
    return np.array([CLASSES[tile.label] for tile in tiles]), np.array([tile.case for tile in tiles])


def chance_aucs(tiles: Sequence[LabelledTile]) -> list[str]:
    """Mean AUC of noise for class, case and class in Case-4; above 0.5, since each is turned to 0.5 or more."""
    rng = np.random.default_rng(SEED)
    classes, cases = groups_of(tiles)
    groupings = classes, cases, classes[cases == "Case-4"]
    return [f"{mean_auc(rng.random((len(groups), 5000)), groups).mean():.2f}" for groups in groupings]


def pairs(tiles: Sequence[LabelledTile]) -> tuple[Numbers, dict[str, Pair]]:
    """Features of unchanged crops; by change, those of unchanged crops on the same mask, and of changed crops."""
    crops = crops_of(tiles, plain)
    unchanged = {disc: measure(crops, disc=disc) for disc in (False, True)}
    found = {}
    for name, change in CHANGES.items():
        disc = name in ON_A_DISC
        found[name] = unchanged[disc], measure(crops_of(tiles, change), disc=disc)
    return unchanged[False], found


def with_nuclei(features: Numbers) -> npt.NDArray[np.bool_]:
    """Crops in which every feature of nuclei is defined."""
    return np.asarray((features[:, DEFINED] > 0).all(axis=1))


def agreement(pair: Pair, scale: Callable[[Numbers], Numbers]) -> Numbers:
    """ICC of scaled features, those of nuclei over the crops in which there are nuclei to describe."""
    rows = with_nuclei(pair[0]) & with_nuclei(pair[1])
    one, other = map(scale, pair)
    return np.where(OF_NUCLEI, icc(one[rows], other[rows]), icc(one, other))


def table(tiles: Sequence[LabelledTile], values: Numbers, compared: dict[str, Pair]) -> dict[str, Numbers]:
    """Columns of the table by name."""
    score = Standardiser.fit(values, RECIPE.names, CLIP, GUARD).apply
    cases = np.repeat(groups_of(tiles)[1], len(values) // len(tiles))
    means = np.array([score(values)[cases == case].mean(axis=0) for case in cases])

    def least(find: Callable[[Pair], Numbers]) -> Numbers:
        return np.asarray(np.min([find(compared[name]) for name in RULE], axis=0))  # NaN stays: never varies

    columns = {name: agreement(pair, score) for name, pair in compared.items()}
    columns["least"] = least(lambda pair: agreement(pair, score))
    columns["least within case"] = least(lambda pair: agreement(pair, lambda side: score(side) - means))
    columns["least not clipped"] = least(lambda pair: agreement(pair, np.asarray))
    columns["least with empty crops"] = least(lambda pair: icc(*map(score, pair)))
    return columns | association(values, tiles)


def kept_by_rule(columns: dict[str, Numbers]) -> npt.NDArray[np.bool_]:
    """Whether the rule keeps each feature."""
    stable = columns["least"] >= LEAST_ICC
    return np.asarray(stable & (columns["case"] - columns["class"] <= MOST_CASE_LEAD))


def is_candidate(feature: Feature) -> bool:
    """Whether a feature is cheap enough for recipe `fast`."""
    return feature.family not in {"glrlm", "glszm"}


def markdown(lines: Iterable[Sequence[Any]], head: Sequence[str]) -> str:
    """Make a Markdown table, its first column to the left."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (head, rule, *lines))


def group_of(feature: Feature) -> str:
    """Row of the summary."""
    if feature.family == "nuclei":
        return "nuclei"
    return f"{feature.family}, {feature.channel}, {feature.mask}"


def summary(columns: dict[str, Numbers], keep: npt.NDArray[np.bool_]) -> str:
    """Median and smallest ICC by family, channel and mask."""
    groups = np.array([group_of(feature) for feature in RECIPE.features])
    lines = []
    for name in dict.fromkeys(groups.tolist()):
        chosen = groups == name
        iccs = [columns[change][chosen] for change in CHANGES]
        cells = [f"{np.nanmedian(column):.2f} ({np.nanmin(column):.2f})" for column in iccs]
        told = [f"{np.median(columns[which][chosen]):.2f}" for which in TOLD]
        lines.append([name, chosen.sum(), *cells, *told, keep[chosen].sum()])
    return markdown(lines, ["features", "n", *CHANGES, *TOLD, "kept"])


def worst(columns: dict[str, Numbers], count: int = 25) -> str:
    """The features that change most, and by what."""
    which = ("least", "least within case", "least not clipped", "least with empty crops")
    lines = []
    for place in np.argsort(columns["least"])[:count]:  # NaN comes last
        change = RULE[int(np.argmin([columns[name][place] for name in RULE]))]
        numbers = [f"{columns[name][place]:.2f}" for name in which]
        lines.append([f"`{RECIPE.names[place]}`", *numbers, change])
    return markdown(lines, ["feature", *which, "under"])


def unused(columns: dict[str, Numbers], keep: npt.NDArray[np.bool_]) -> str:
    """Features that are stable or constant and yet not kept, with what they tell."""
    which = ("least", "least not clipped", *TOLD)
    places = np.flatnonzero(~keep & ~(columns["least"] < LEAST_ICC))
    lines = [[f"`{RECIPE.names[place]}`", *[f"{columns[n][place]:.2f}" for n in which]] for place in places]
    return markdown(lines, ["feature", *which])


def nuclei_at_both(values: Numbers, finer: Numbers) -> str:
    """Nuclei features of the same fields at 1.0 and at 0.5 um/px."""
    score = Standardiser.fit(values, RECIPE.names, CLIP, GUARD).apply
    found = agreement((values, finer), score)
    rows = with_nuclei(values) & with_nuclei(finer)
    lines = []
    for place in [place for place, feature in enumerate(RECIPE.features) if feature.family == "nuclei"]:
        one, other = finer[rows, place], values[rows, place]
        rho = np.corrcoef(rankdata(one), rankdata(other))[0, 1]
        numbers = [f"{np.mean(one):.3g}", f"{np.mean(other):.3g}", f"{found[place]:.2f}", f"{rho:.2f}"]
        lines.append([f"`{RECIPE.names[place]}`", *numbers])
    return markdown(lines, ["feature", "mean at 0.5", "mean at 1.0", "ICC", "Spearman"])


def machine() -> str:
    """Name the processor and count its threads."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} threads, Python {platform.python_version()}"


def write_table(columns: dict[str, Numbers], keep: npt.NDArray[np.bool_]) -> None:
    with atomic_write(TABLE) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["feature", *columns, "kept"])
        for place, name in enumerate(RECIPE.names):
            numbers = [f"{column[place]:.4f}" for column in columns.values()]
            writer.writerow([name, *numbers, int(keep[place])])


def write_section(text: str) -> None:
    """Replace what lies between the page's markers."""
    page = PAGE.read_text(encoding="utf-8")
    before, marker, rest = page.partition(BEGIN)
    _, other, after = rest.partition(END)
    if not (marker and other):
        raise SystemExit(f"{PAGE.name} lacks {BEGIN} and {END}; put them where the tables belong")
    with atomic_write(PAGE) as part:
        part.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def listed(chosen: npt.NDArray[np.bool_]) -> str:
    return ", ".join(f"`{name}`" for name, is_in in zip(RECIPE.names, chosen, strict=True) if is_in) or "none"


def wrapped(text: str) -> str:
    """Lines of a paragraph."""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def verdict(columns: dict[str, Numbers], keep: npt.NDArray[np.bool_]) -> str:
    """How many features the rule keeps, and which of the cheap ones."""
    constant, unstable = np.isnan(columns["least"]), columns["least"] < LEAST_ICC
    tells_case = columns["case"] - columns["class"] > MOST_CASE_LEAD
    cheap = np.array([is_candidate(feature) for feature in RECIPE.features])
    other = [name for name in columns if name.startswith("least ")]
    fewer = [f'{((columns[name] < LEAST_ICC) & keep).sum()} by "{name}"' for name in other]
    return f"""**The rule keeps {keep.sum()} of {len(keep)} features**: {unstable.sum()} change too much,
{tells_case.sum()} tell the case far better than the class, and {constant.sum()} have
no median absolute deviation, so that the network gets
nothing from them.

{wrapped(f"Of those kept, a smallest ICC below {LEAST_ICC} is found for {', '.join(fewer)}.")}

Of the {cheap.sum()} features that are cheap enough for `fast` (all but run and zone
matrices) the rule keeps {(cheap & keep).sum()}. It drops:

{wrapped(listed(cheap & ~keep))}."""


def method(tiles: Sequence[LabelledTile], compared: dict[str, Pair]) -> str:
    """Describe the method."""
    n = len(next(iter(compared.values()))[0])
    flips = [
        f"{(with_nuclei(one) != with_nuclei(other)).sum()} ({name})"
        for name, (one, other) in compared.items()
    ]
    aucs = chance_aucs(tiles)
    limits = chance_limit(len(tiles), 3, 4), chance_limit(len(tiles), 4, 3)
    return f"""Written by `python benchmarks/robustness.py` on {datetime.now(UTC):%Y-%m-%d} ({machine()}; seed {SEED}).

{n} crops, four of each of {len(tiles)} labelled tiles ({SOURCE_MPP} um/px), area-averaged to 1.0 um/px and
{CROP_PX} px wide, are measured by recipe `full` with the fixed stain matrix, unchanged and changed; tissue and
nuclei are found anew on the changed pixels. Figures are ICC(A,1), two-way and for absolute agreement (McGraw
and Wong, Psychol Methods 1996, 1:30), which is ICC(2,1) of Shrout and Fleiss (Psychol Bull 1979, 86:420): 1
where a change does nothing, 0 where it matters as much as taking another crop. They are of the scores that the
network gets, by median and MAD of the unchanged crops and clipped to ±{CLIP:g}, since a few extreme crops would
otherwise decide them. Koo and Li (J Chiropr Med 2016, 15:155) call 0.75 to 0.9 good, and more excellent.

- stain: haematoxylin and eosin of each crop, each scaled by 0.9 to 1.1 and shifted by -0.02 to 0.02.
- JPEG: the field at scan resolution, with colours at half resolution, on a grid of blocks that is not that
  of the tiles. These are JPEG of quality 75 themselves, so that the effect on a raw scan may be larger.
- mpp: pixels are 5 % larger or smaller than stated; a crop of {CROP_PX} px sees more or less around its centre.
- 90° and 30°: the crop is turned; 30° compares the largest discs, which hold the same tissue.

Features of nuclei are compared over crops in which both sides hold a whole nucleus and a second one. Without,
a feature is 0, and the few crops of {n} that pass from one state to the other would decide the figure:
{", ".join(flips)}.
"least with empty crops" has them all.

How well a feature tells the class is the share of the variance of its ranks over tiles that the class
explains beyond the case, adjusted for degrees of freedom, and conversely for the case: 0 by chance, and
above {limits[0]:.2f} (class) or {limits[1]:.2f} (case) in one of twenty features of noise. The AUC is the
mean of each class against the rest, each turned to 0.5 or more; Case-4 is the only
case with all three classes, in ten tiles. Noise reaches {aucs[2]}
there, and {aucs[0]} for the class and {aucs[1]} for the case over all tiles.

What this cannot say: {len(tiles)} tiles of four cases from one centre are few, crops of a tile are not
independent, and class is nearly a function of the case. Crops differ much in kind, so that a high ICC still
leaves room for shifts that matter between like crops ("least within case" takes the cases' means away). The
changes stand for scanners and laboratories, and are milder than a change of either.

Rule: keep a feature whose smallest ICC over {", ".join(RULE)} is at least
{LEAST_ICC}, unless the case explains {MOST_CASE_LEAD} more of its variance than the class."""


def main() -> None:
    start = time.perf_counter()
    data = Path(os.environ.get("WSI_NECROSIS_DATA", ROOT.parent / "shared" / "data"))
    source = load_train_settings(None, [f"data.tiles={data / 'tcia_os'}", f"data.mpp_um={SOURCE_MPP}"]).data
    tiles = read_tiles(
        source, data, Field(CROP_PX, SOURCE_MPP * REDUCTION)
    )  # a table: nothing is cut or written
    prepare(RECIPE, SOURCE_MPP * REDUCTION)
    values, compared = pairs(tiles)
    columns = table(tiles, values, compared)
    keep = kept_by_rule(columns)
    write_table(columns, keep)
    parts = [
        method(tiles, compared),
        verdict(columns, keep),
        f"Median (smallest) ICC, and median of what is told. Every feature: [{TABLE.name}]({TABLE.name}).",
        summary(columns, keep),
        "Dropped for telling the case, or for a median absolute deviation of 0 (nan):",
        unused(columns, keep),
        "The features that change most:",
        worst(columns),
        "Nuclei of the same fields at 0.5 and at 1.0 um/px, over crops with nuclei at both:",
        nuclei_at_both(values, measure(crops_of(tiles, fine), disc=False)),
    ]
    write_section("\n\n".join(parts))
    print(f"{keep.sum()} of {len(keep)} features kept, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
