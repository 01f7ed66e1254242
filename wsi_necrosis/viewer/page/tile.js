// What is known of a tile that was clicked.

import { get } from "./api.js";
import { attempt, byId, make, rgb } from "./dom.js";
import { outline } from "./image.js";

const REASONS = { ood: "unlike the training tiles", defocus: "out of focus", uncertainty: "too uncertain" };

export class TilePanel {
  constructor(start, image) {
    Object.assign(this, { start, image, at: null });
    byId("tile-close").addEventListener("click", () => this.close());
    image.drawers.push((context, place, scale) => this.draw(context, place, scale));
  }

  async show(slide, row, col, reader) {
    const path = `api/slides/${slide.key}/cells/${row}/${col}?reader=${encodeURIComponent(reader)}`;
    const facts = await attempt(() => get(path));
    if (!facts) return;
    this.at = { slide, row, col };
    byId("tile").hidden = false;
    byId("tile-title").textContent = `Tile in row ${row}, column ${col}`;
    byId("tile-body").replaceChildren(...this.body(facts, slide, reader));
    this.image.draw();
  }

  close() {
    this.at = null;
    byId("tile").hidden = true;
    this.image.draw();
  }

  draw(context, place, scale) {
    if (!this.at) return;
    outline(context, place(...cellBox(this.at.slide, this.at.row, this.at.col)), "#ffdd00", scale);
  }

  body(facts, slide, reader) {
    if (facts.hidden) return [make("p", {}, "This cell waits for its label in a review; what was found in it is not told before.")];
    if (!facts.tile) return [make("p", {}, "No tissue was scored here.")];
    const tile = facts.tile;
    const known = Object.values(this.start.labels).find((each) => each.name === tile.label);
    const why = tile.reason ? `: ${REASONS[tile.reason]}` : "";
    return [
      make("p", {}, make("strong", {}, known.title), why),
      this.probabilities(tile),
      this.numbers([
        ["Uncertainty (0 to 1)", tile.uncertainty],
        ["Unlike the training tiles (limit 1)", tile.ood],
        ["Out of focus (limit 1)", tile.defocus],
        ["Tissue in mm²", tile.tissue_mm2],
      ]),
      make("h3", {}, "P(viable) of the neighbours"),
      this.around(facts.neighbours, slide, reader),
      ...this.radiomics(facts),
    ];
  }

  probabilities(tile) {
    const rows = this.start.layers.slice(1, 4).map((layer) => {
      const value = tile[layer.column];
      const { rgb: colour } = Object.values(this.start.labels).find((each) => each.title === layer.title);
      const bar = make("span", { className: "bar", style: { width: `${(value ?? 0) * 100}%`, background: rgb(colour) } });
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, layer.title),
        make("td", { className: "bar-cell" }, bar),
        make("td", { dataset: { column: layer.column, value: String(value) } }, number(value)),
      );
    });
    return make("table", {}, make("tbody", {}, ...rows));
  }

  numbers(rows) {
    const cells = rows.map(([name, value]) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", { dataset: { value: String(value) } }, number(value))),
    );
    return make("table", {}, make("tbody", {}, ...cells));
  }

  around(neighbours, slide, reader) {
    const buttons = neighbours.map((each) => {
      const value = each[this.start.layers[1].column];
      const own = each.row === this.at?.row && each.col === this.at?.col;
      const colour = Object.values(this.start.labels).find((label) => label.name === each.label);
      const text = each.hidden ? "?" : value === undefined || value === null ? "–" : value.toFixed(2);
      const button = make("button", { type: "button", className: own ? "own" : "", disabled: each.label === undefined }, text);
      if (colour) button.style.borderColor = rgb(colour.rgb);
      button.setAttribute("aria-label", `Row ${each.row}, column ${each.col}: ${colour ? colour.title : "no tile"} ${text}`);
      button.addEventListener("click", () => this.show(slide, each.row, each.col, reader));
      return button;
    });
    return make("div", { className: "around" }, ...buttons);
  }

  radiomics(facts) {
    const names = Object.keys(facts.radiomics);
    const parts = [];
    if (facts.gate) parts.push(make("p", {}, `Weight of the image ${number(facts.gate.image)}, of radiomics ${number(facts.gate.radiomics)}`));
    if (!names.length) return parts;
    const table = this.numbers(names.map((name) => [name.replaceAll("_", " "), facts.radiomics[name]]));
    return [...parts, make("details", {}, make("summary", {}, `Radiomics: ${names.length} features`), table)];
  }
}

// Box of a cell in level-0 pixels.
export function cellBox(slide, row, col) {
  const { x_l0, y_l0, cell_l0 } = slide.grid;
  return [x_l0 + col * cell_l0[0], y_l0 + row * cell_l0[1], cell_l0[0], cell_l0[1]];
}

// The cell at a level-0 position; null outside the grid.
export function cellAt(slide, x, y) {
  const { x_l0, y_l0, cell_l0, shape } = slide.grid;
  const [row, col] = [Math.floor((y - y_l0) / cell_l0[1]), Math.floor((x - x_l0) / cell_l0[0])];
  return row >= 0 && col >= 0 && row < shape[0] && col < shape[1] ? { row, col } : null;
}

function number(value) {
  if (value === null || value === undefined) return "not known";
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}
