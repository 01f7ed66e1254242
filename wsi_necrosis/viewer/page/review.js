// Labels of the cells of a review, one after another, and free marks.

import { get, post } from "./api.js";
import { attempt, byId, make } from "./dom.js";
import { outline } from "./image.js";
import { cellBox } from "./tile.js";

const NEAR = 0.45; // margins around a cell, in its sides
const FAR = 3;
const COLOURS = { viable: "#e00000", non_viable: "#303030", unsure: "#ffffff" };
const NAMES = { viable: "Viable tumour", non_viable: "Non-viable tumour", unsure: "Not sure" };

export class Review {
  // `app` gives slides to look at, and who looks.
  constructor(app) {
    Object.assign(this, { app, state: null, at: 0, past: [], far: false, active: false });
    byId("review-field").hidden = app.start.reviews.length < 2;
    byId("review-none").hidden = app.start.reviews.length > 0;
    byId("review-name").append(...app.start.reviews.map((name) => make("option", {}, name)));
    byId("review-name").addEventListener("change", () => this.begin());
    for (const button of byId("review").querySelectorAll("[data-label]")) {
      button.addEventListener("click", () => this.label(button.dataset.label));
    }
    byId("back").addEventListener("click", () => this.go(this.at - 1));
    byId("next").addEventListener("click", () => this.go(this.at + 1));
    byId("undo").addEventListener("click", () => this.undo());
    byId("far").addEventListener("click", () => this.surround());
    app.image.drawers.push((context, place, scale) => {
      if (this.cell && this.active) outline(context, place(...this.cell.box_l0), "#ffdd00", scale);
    });
  }

  get name() {
    return byId("review-name").value;
  }

  get cell() {
    return this.state?.cells[this.at];
  }

  async begin() {
    if (!this.name) return;
    const path = `api/reviews/${this.name}?reader=${encodeURIComponent(this.app.reader)}`;
    this.state = await attempt(() => get(path));
    if (!this.state) return;
    this.past = [];
    byId("review-body").hidden = false;
    const first = this.state.cells.findIndex((cell) => !cell.label);
    await this.go(first < 0 ? 0 : first);
  }

  async go(place) {
    if (!this.state) return;
    this.at = Math.min(this.state.cells.length - 1, Math.max(0, place));
    this.say();
    const { slide, slide_id: name, box_l0: box } = this.cell;
    if (!slide) {
      byId("review-where").textContent = `${name} is not among these results`;
      return;
    }
    await this.app.openSlide(slide);
    this.app.image.show(...box, this.far ? FAR : NEAR);
    this.app.image.draw();
  }

  say() {
    const { cells, sentences, reading } = this.state;
    const done = cells.filter((cell) => cell.label).length;
    byId("review-progress").textContent = `${done} of ${cells.length} cells labelled`;
    byId("review-where").textContent = `Cell ${this.cell.number}, slide ${this.cell.slide_id}`;
    for (const button of byId("review").querySelectorAll("[data-label]")) {
      button.setAttribute("aria-pressed", String(button.dataset.label === this.cell.label));
    }
    byId("undo").disabled = this.past.length === 0;
    byId("steps").replaceChildren(
      ...cells.map((cell, place) => {
        const button = make("button", { type: "button", className: cell.label ? "done" : "" }, String(cell.number));
        button.setAttribute("aria-label", `Go to cell ${cell.number}${cell.label ? ", labelled" : ""}`);
        button.setAttribute("aria-current", String(place === this.at));
        button.addEventListener("click", () => this.go(place));
        return make("li", {}, button);
      }),
    );
    const found = reading?.if_viable;
    const head = found ? [make("strong", {}, headline(reading))] : [];
    byId("review-result").replaceChildren(...head, ...sentences.map((each) => make("p", {}, each)));
  }

  async label(label) {
    if (!this.cell || this.busy) return;
    const { number, label: before } = this.cell;
    if (!(await this.keep(number, label))) return;
    this.past.push([this.at, before || ""]);
    await this.go(this.at + 1);
  }

  async undo() {
    const last = this.past.pop();
    if (!last) return;
    await this.keep(this.state.cells[last[0]].number, last[1]);
    await this.go(last[0]);
  }

  async keep(cell, label) {
    this.busy = true;
    const facts = { cell, label, reader: this.app.reader };
    const state = await attempt(() => post(`api/reviews/${this.name}`, facts));
    this.busy = false;
    if (!state) return false;
    this.state = state;
    this.app.labelled();
    return true;
  }

  surround() {
    this.far = !this.far;
    byId("far").setAttribute("aria-pressed", String(this.far));
    if (this.cell) this.app.image.show(...this.cell.box_l0, this.far ? FAR : NEAR);
  }
}

function headline(reading) {
  const share = (found) => `${Math.round(100 * found.share)} %`;
  const [one, other] = [reading.if_viable, reading.if_non_viable];
  if (reading.unsure && other) return `${share(other)} to ${share(one)} viable`;
  return `${share(one)} viable (${Math.round(100 * one.low)} to ${Math.round(100 * one.high)} %)`;
}

export class Marks {
  constructor(app) {
    Object.assign(this, { app, list: [], chosen: null, active: false });
    for (const button of byId("marks").querySelectorAll("[data-label]")) {
      button.addEventListener("click", () => this.mark(button.dataset.label));
    }
    app.image.drawers.push((context, place, scale) => this.draw(context, place, scale));
  }

  async load(slide) {
    this.chosen = null;
    this.take((await attempt(() => get(`api/slides/${slide.key}/marks`)))?.marks || []);
    this.say();
  }

  take(marks) {
    this.list = marks;
    const items = marks.map((mark) => {
      const text = `${NAMES[mark.label]}, row ${mark.row}, column ${mark.col} (${mark.reader})`;
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => {
        this.choose(mark);
        this.app.image.show(...cellBox(this.app.slide, mark.row, mark.col), FAR);
      });
      return make("li", {}, button);
    });
    byId("mark-list").replaceChildren(...(items.length ? items : [make("p", { className: "quiet" }, "None yet.")]));
  }

  choose(cell) {
    this.chosen = cell;
    this.say();
    this.app.image.draw();
  }

  say() {
    const cell = this.chosen;
    byId("marks-where").textContent = cell ? `Cell in row ${cell.row}, column ${cell.col}` : "Click a cell of the slide.";
    for (const button of byId("marks").querySelectorAll("[data-label]")) button.disabled = !cell;
  }

  async mark(label) {
    if (!this.chosen) return;
    const { row, col } = this.chosen;
    const facts = { row, col, label, reader: this.app.reader };
    const found = await attempt(() => post(`api/slides/${this.app.slide.key}/marks`, facts));
    if (found) this.take(found.marks);
    this.app.image.draw();
  }

  draw(context, place, scale) {
    if (!this.active) return;
    for (const mark of this.list) {
      const dash = mark.label === "unsure" ? [4, 4] : [];
      outline(context, place(...cellBox(this.app.slide, mark.row, mark.col)), COLOURS[mark.label], scale, 3, dash);
    }
    const { chosen } = this;
    if (chosen) outline(context, place(...cellBox(this.app.slide, chosen.row, chosen.col)), "#ffdd00", scale);
  }
}
