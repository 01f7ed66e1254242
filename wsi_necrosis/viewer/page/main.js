// The page: slides, tabs, foci and keys.

import { bytes, get, picture } from "./api.js";
import { attempt, byId, make, notice } from "./dom.js";
import { SlideImage, outline } from "./image.js";
import { Layers } from "./layers.js";
import { Marks, Review } from "./review.js";
import { TilePanel, cellAt } from "./tile.js";

const NEAREST_UM = 400; // least and most side of the view when a focus is flown to
const WIDEST_UM = 2500;
const MANY = 8; // slides from which on there is a field to find one
const TABS = ["results", "review", "marks"];
const KEYS = [
  ["← → ↑ ↓", "move; in a review ← → change the cell"],
  ["+ − 0", "closer, farther, whole slide"],
  ["1 to 7", "layer"],
  ["h", "hide or show the layer"],
  ["[ ]", "less or more opaque"],
  [", .", "lower or raise the value from which a layer is shown"],
  ["f  F", "next or previous viable focus"],
  ["j  k", "next or previous slide"],
  ["r  m  g", "review, marks, results"],
  ["v n o ?", "labels of a review or of a mark"],
  ["u  s", "in a review: undo, surroundings"],
  ["Esc", "close what is told of a tile"],
];

class App {
  constructor(start) {
    this.start = start;
    this.slide = null;
    this.focus = -1;
    this.tab = "results";
    this.image = new SlideImage();
    this.layers = new Layers(start, this.image);
    this.tile = new TilePanel(start, this.image);
    this.image.drawers.push((...given) => this.drawFocus(...given));
    this.review = new Review(this);
    this.marks = new Marks(this);
    this.image.onClick((x, y) => this.clicked(x, y));
    this.setUpSlides();
    this.setUpTabs();
    this.setUpReader();
    for (const [id, job] of [
      ["zoom-in", () => this.image.zoom(1.6)],
      ["zoom-out", () => this.image.zoom(1 / 1.6)],
      ["home", () => this.image.home()],
      ["help", () => byId("keys").showModal()],
    ]) {
      byId(id).addEventListener("click", job);
    }
    byId("keys-list").append(...KEYS.flatMap(([key, what]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)]));
    byId("version").textContent = `wsi-necrosis ${start.version}`;
    document.addEventListener("keydown", (event) => this.key(event));
  }

  get reader() {
    return document.querySelector(".reader").value.trim();
  }

  setUpReader() {
    const fields = [...document.querySelectorAll(".reader")];
    for (const field of fields) {
      field.value = this.start.reader;
      field.addEventListener("change", () => {
        for (const other of fields) other.value = field.value;
        if (this.tab === "review") this.review.begin();
      });
    }
  }

  setUpSlides() {
    const rows = this.start.slides.map((slide) => {
      const button = make("button", { type: "button", title: slide.case ? `case ${slide.case}` : "" }, slide.slide_id);
      button.addEventListener("click", () => this.openSlide(slide.key));
      const viable = slide.percent_viable === null ? "–" : `${slide.percent_viable.toFixed(1)} %`;
      const cells = [make("td", {}, button), make("td", { title: slide.percent_text }, viable), make("td", {}, slide.tumour_mm2.toFixed(2))];
      return make("tr", { dataset: { key: slide.key, text: `${slide.slide_id} ${slide.case}`.toLowerCase() } }, ...cells);
    });
    byId("slides").tBodies[0].append(...rows);
    byId("slides-box").hidden = rows.length < 2;
    byId("filter").hidden = rows.length < MANY;
    byId("filter").addEventListener("input", () => {
      const wanted = byId("filter").value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.dataset.text.includes(wanted);
    });
  }

  setUpTabs() {
    for (const name of TABS) byId(`tab-${name}`).addEventListener("click", () => this.open(name));
    document.querySelector(".tabs").addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const next = TABS[(TABS.indexOf(this.tab) + step + TABS.length) % TABS.length];
      this.open(next);
      byId(`tab-${next}`).focus();
    });
  }

  // Opens a tab. In a review nothing of the model is seen.
  async open(name) {
    this.tab = name;
    for (const each of TABS) {
      byId(each).hidden = each !== name;
      byId(`tab-${each}`).setAttribute("aria-selected", String(each === name));
      byId(`tab-${each}`).tabIndex = each === name ? 0 : -1;
    }
    this.review.active = name === "review";
    this.marks.active = name === "marks";
    this.tile.close();
    this.layers.show(name !== "review");
    byId("toggle").hidden = name === "review";
    if (name === "review") await this.review.begin();
    this.image.draw();
  }

  async openSlide(key) {
    if (this.slide?.key === key) return;
    await attempt(async () => {
      const slide = await get(`api/slides/${key}`);
      this.slide = slide;
      this.focus = -1;
      this.tile.close();
      this.describe(slide);
      await this.image.open(slide);
      await Promise.all([this.loadLayers(), this.loadTissue(), this.marks.load(slide)]);
      this.image.draw();
      document.body.dataset.slide = slide.key;
    });
  }

  async loadLayers() {
    const { slide } = this;
    const found = await bytes(`api/slides/${slide.key}/layers?reader=${encodeURIComponent(this.reader)}`);
    if (this.slide === slide) this.layers.take(slide, found);
  }

  async loadTissue() {
    const { slide } = this;
    this.layers.takeTissue(null);
    const found = await picture(`api/slides/${slide.key}/tissue`);
    if (this.slide === slide) this.layers.takeTissue(found);
  }

  // A cell that has its label now may be shown.
  labelled() {
    attempt(() => this.loadLayers());
  }

  describe(slide) {
    byId("title").textContent = slide.slide_id;
    byId("title").title = slide.slide_id;
    document.title = `${slide.slide_id} – wsi-necrosis`;
    for (const row of byId("slides").tBodies[0].rows) {
      row.toggleAttribute("aria-current", row.dataset.key === slide.key);
      if (row.dataset.key === slide.key) row.scrollIntoView({ block: "nearest" });
    }
    byId("percent").textContent = slide.percent_text;
    byId("percent").classList.toggle("long", slide.percent_text.length > 16);
    byId("estimators").textContent = slide.estimators_text;
    byId("interval").textContent = slide.interval_text ? `Interval ${slide.interval_text}` : "";
    this.describeAreas(slide.areas);
    const { warnings } = slide;
    byId("warnings-box").hidden = warnings.length === 0;
    byId("warnings-title").textContent = warnings.length === 1 ? "1 warning" : `${warnings.length} warnings`;
    byId("warnings").replaceChildren(...warnings.map((text) => make("li", {}, text)));
    this.describeFoci(slide);
  }

  describeAreas(areas) {
    const total = areas.viable + areas.non_viable + areas.non_tumour;
    const parts = [["viable", 3], ["non_viable", 2], ["non_tumour", 1]].map(([name, label]) => {
      const { title, rgb } = this.start.labels[label];
      return { area: areas[name], title, colour: `rgb(${rgb.join(" ")})` };
    });
    const bars = parts.map(({ area, colour }) => make("div", { style: { width: `${(100 * area) / total}%`, background: colour } }));
    const text = parts.map(({ area, title }) => `${title} ${area.toFixed(2)}`).join(", ");
    byId("areas").replaceChildren(...(total > 0 ? bars : []));
    byId("areas").setAttribute("aria-label", `Areas in mm²: ${text}`);
    byId("area-text").textContent = total > 0 ? `${text} mm²` : "";
  }

  describeFoci(slide) {
    const more = slide.n_foci > slide.foci.length ? `; the largest ${slide.foci.length}` : "";
    byId("foci-title").textContent = slide.n_foci ? `Viable foci (${slide.n_foci}${more})` : "Viable foci";
    const items = slide.foci.map((focus, at) => {
      const text = `${focus.rank}.  ${focus.viable_mm2.toFixed(2)} mm² viable, ${focus.extent_mm.toFixed(1)} mm`;
      const button = make("button", { type: "button" }, text, make("small", {}, `, P ${focus.mean_prob.toFixed(2)}`));
      button.addEventListener("click", () => this.fly(at));
      return make("li", {}, button);
    });
    byId("foci").replaceChildren(...(items.length ? items : [make("p", { className: "quiet" }, "None found.")]));
  }

  // Flies to a focus: small ones are seen whole, of large ones the most certain cell and what lies around it.
  fly(at) {
    const { foci, mpp } = this.slide;
    if (!foci.length) return;
    this.focus = (at + foci.length) % foci.length;
    const { centre_l0: centre, box } = foci[this.focus];
    const um = Math.min(WIDEST_UM, Math.max(NEAREST_UM, 1.3 * Math.max(box.width_l0 * mpp[0], box.height_l0 * mpp[1])));
    const [width, height] = [um / mpp[0], um / mpp[1]];
    const whole = um < WIDEST_UM;
    const [x, y] = whole ? [box.x_l0 + box.width_l0 / 2, box.y_l0 + box.height_l0 / 2] : centre;
    this.image.show(x - width / 2, y - height / 2, width, height);
    byId("foci").querySelectorAll("button").forEach((button, place) => {
      button.toggleAttribute("aria-current", place === this.focus);
      if (place === this.focus) button.scrollIntoView({ block: "nearest" });
    });
    this.image.draw();
  }

  drawFocus(context, place, scale) {
    const focus = this.slide?.foci[this.focus];
    if (!focus || this.tab !== "results") return;
    const { x_l0, y_l0, width_l0, height_l0 } = focus.box;
    outline(context, place(x_l0, y_l0, width_l0, height_l0), "#ffffff", scale, 2, [7, 5]);
  }

  clicked(x, y) {
    const cell = cellAt(this.slide, x, y);
    if (this.tab === "results" && cell) this.tile.show(this.slide, cell.row, cell.col, this.reader);
    else if (this.tab === "results") this.tile.close();
    else if (this.tab === "marks") this.marks.choose(cell);
  }

  step(by) {
    const keys = this.start.slides.map((slide) => slide.key);
    const at = keys.indexOf(this.slide?.key);
    this.openSlide(keys[(at + by + keys.length) % keys.length]);
  }

  key(event) {
    const field = event.target.closest("input:not([type=checkbox]), select, dialog");
    if (field || event.ctrlKey || event.metaKey || event.altKey || !this.slide) return;
    const job = this.jobs()[event.key];
    if (!job) return;
    event.preventDefault();
    job();
  }

  // What each key does now.
  jobs() {
    const { image, layers, review, marks } = this;
    const common = {
      ArrowLeft: () => image.pan(-1, 0), ArrowRight: () => image.pan(1, 0),
      ArrowUp: () => image.pan(0, -1), ArrowDown: () => image.pan(0, 1),
      "+": () => image.zoom(1.6), "=": () => image.zoom(1.6), "-": () => image.zoom(1 / 1.6), 0: () => image.home(),
      j: () => this.step(1), k: () => this.step(-1),
      r: () => this.open("review"), m: () => this.open("marks"), g: () => this.open("results"),
      "?": () => byId("keys").showModal(),
    };
    if (this.tab === "review") {
      const { j, k, ...rest } = common;
      return {
        ...rest,
        v: () => review.label("viable"), n: () => review.label("non_viable"), o: () => review.label("non_tumour"),
        "?": () => review.label("unsure"), u: () => review.undo(), s: () => review.surround(),
        ArrowLeft: () => review.go(review.at - 1), ArrowRight: () => review.go(review.at + 1),
      };
    }
    const shown = {
      ...common,
      h: () => layers.show(!layers.shown), "[": () => layers.fade(-10), "]": () => layers.fade(10),
      ",": () => layers.raise(-5), ".": () => layers.raise(5),
      ...Object.fromEntries(this.start.layers.map((_, at) => [String(at + 1), () => layers.choose(at)])),
      f: () => this.fly(this.focus + 1), F: () => this.fly(this.focus < 0 ? -1 : this.focus - 1),
      Escape: () => this.tile.close(),
    };
    if (this.tab !== "marks") return shown;
    return {
      ...shown,
      v: () => marks.mark("viable"), n: () => marks.mark("non_viable"), "?": () => marks.mark("unsure"),
      Delete: () => marks.mark(""), Escape: () => marks.choose(null),
    };
  }
}

history.replaceState(null, "", location.pathname); // the token need not stay in the address
attempt(async () => {
  const app = new App(await get("api/start"));
  globalThis.viewer = app; // for tests, and for the curious
  notice("");
  await app.openSlide(app.start.slides[0]?.key);
});
