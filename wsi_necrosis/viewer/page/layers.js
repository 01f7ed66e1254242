// Layers over the slide: which one, how opaque, from which value on; and their legend.

import { byId, make, rgb } from "./dom.js";

const NON_VIABLE = 2; // labels that are hatched, as on overlay.png: red and grey look alike to some
const ABSTAINED = 4;
const LINES = { [NON_VIABLE]: ["#141414", 1], [ABSTAINED]: ["#5a5a5a", -1] }; // colour, and whether they rise
const HATCH_PX = 10;

export class Layers {
  constructor(start, image) {
    Object.assign(this, { start, image, chosen: 0, opacity: 0.4, shown: true, hidden: new Set(), slide: null, scratches: [] });
    this.threshold = start.layers.map(() => 0);
    this.cells = new OffscreenCanvas(1, 1);
    this.lines = { [NON_VIABLE]: new OffscreenCanvas(1, 1), [ABSTAINED]: new OffscreenCanvas(1, 1) };
    this.choices();
    image.drawers.push((...given) => this.draw(...given));
  }

  // Takes where the tissue of a slide is: a picture of its plane, clear elsewhere.
  takeTissue(tissue) {
    this.tissue = tissue;
    this.image.draw();
  }

  // Takes the layers of a slide, a byte per cell, one layer after another.
  take(slide, bytes) {
    const [rows, cols] = slide.grid.shape;
    this.slide = slide;
    this.planes = this.start.layers.map((_, at) => bytes.subarray(at * rows * cols, (at + 1) * rows * cols));
    this.paint();
  }

  choices() {
    const options = this.start.layers.map((layer, at) => make("option", { value: at }, `${at + 1}  ${layer.title}`));
    byId("layer").append(...options);
    byId("layer").addEventListener("change", () => this.choose(Number(byId("layer").value)));
    byId("opacity").addEventListener("input", () => {
      this.opacity = byId("opacity").value / 100;
      this.show(true);
      this.legend();
    });
    byId("threshold").addEventListener("input", () => {
      this.threshold[this.chosen] = (byId("threshold").value / 100) * this.layer.highest;
      this.show(true);
      this.paint();
    });
    byId("toggle").addEventListener("click", () => this.show(!this.shown));
  }

  get layer() {
    return this.start.layers[this.chosen];
  }

  choose(at) {
    if (!this.start.layers[at]) return;
    this.chosen = at;
    byId("layer").value = at;
    this.show(true);
    this.paint();
  }

  show(shown) {
    this.shown = shown;
    byId("toggle").setAttribute("aria-pressed", String(shown));
    byId("layer-panel").hidden = !shown;
    this.image.draw();
  }

  fade(step) {
    byId("opacity").value = Number(byId("opacity").value) + step;
    byId("opacity").dispatchEvent(new Event("input"));
  }

  raise(step) {
    if (this.chosen === 0) return;
    byId("threshold").value = Number(byId("threshold").value) + step;
    byId("threshold").dispatchEvent(new Event("input"));
  }

  // Colours of all cells, a pixel each.
  paint() {
    if (!this.slide) return;
    const [rows, cols] = this.slide.grid.shape;
    if (this.chosen === 0) this.paintClasses(rows, cols);
    else this.paintScale(rows, cols);
    this.legend();
    this.image.draw();
  }

  paintClasses(rows, cols) {
    const plane = this.planes[0];
    const colour = (label) => {
      const known = this.start.labels[label];
      if (!known || this.hidden.has(label)) return null;
      return [...known.rgb, label === NON_VIABLE ? 110 : 255];
    };
    fill(this.cells, rows, cols, (at) => colour(plane[at]));
    for (const label of [NON_VIABLE, ABSTAINED]) {
      fill(this.lines[label], rows, cols, (at) =>
        plane[at] === label && !this.hidden.has(label) ? [0, 0, 0, 255] : null,
      );
    }
  }

  paintScale(rows, cols) {
    const { ramp, top, nothing } = this.start;
    const plane = this.planes[this.chosen];
    const least = Math.round((this.threshold[this.chosen] / this.layer.highest) * top);
    fill(this.cells, rows, cols, (at) =>
      plane[at] === nothing || plane[at] < least ? null : [...ramp[plane[at]], 255],
    );
  }

  // Colours of the tissue of each cell; the glass around it stays as it is.
  draw(context, place, scale) {
    if (!this.slide || !this.shown) return;
    const { x_l0, y_l0, width_l0, height_l0, cell_l0, shape } = this.slide.grid;
    const box = place(x_l0, y_l0, cell_l0[0] * shape[1], cell_l0[1] * shape[0]);
    const plane = place(x_l0, y_l0, width_l0, height_l0);
    const drawn = this.scratch(context, 0);
    drawn.drawImage(this.cells, ...box);
    if (this.chosen === 0) {
      this.hatch(drawn, box, scale, NON_VIABLE);
      this.hatch(drawn, box, scale, ABSTAINED);
    }
    if (this.tissue) {
      drawn.globalCompositeOperation = "destination-in";
      drawn.imageSmoothingEnabled = true;
      drawn.drawImage(this.tissue, ...plane);
    }
    context.globalAlpha = this.opacity;
    context.drawImage(drawn.canvas, 0, 0);
  }

  // Lines over the cells of a label: a mask of these cells, filled with a pattern.
  hatch(drawn, box, scale, label) {
    const mask = this.scratch(drawn, 1);
    mask.drawImage(this.lines[label], ...box);
    mask.globalCompositeOperation = "source-in";
    mask.fillStyle = mask.createPattern(stripes(Math.round(HATCH_PX * scale), ...LINES[label]), "repeat");
    mask.fillRect(0, 0, mask.canvas.width, mask.canvas.height);
    drawn.drawImage(mask.canvas, 0, 0);
  }

  // An empty canvas as large as that of a context.
  scratch(like, number) {
    const { width, height } = like.canvas;
    const canvas = (this.scratches[number] ??= new OffscreenCanvas(1, 1));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.globalCompositeOperation = "source-over";
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    return context;
  }

  legend() {
    byId("opacity-text").textContent = `${Math.round(this.opacity * 100)} %`;
    byId("threshold-box").hidden = this.chosen === 0;
    const legend = byId("legend");
    legend.replaceChildren();
    if (this.chosen === 0) this.classLegend(legend);
    else this.scaleLegend(legend);
  }

  classLegend(legend) {
    const [viable, nonViable, nonTumour, ...others] = [3, 2, 1, 4, 5];
    const there = new Set(this.planes ? this.planes[0] : []);
    for (const label of [viable, nonViable, nonTumour, ...others.filter((each) => there.has(each))]) {
      const { title, rgb: colour } = this.start.labels[label];
      const input = make("input", { type: "checkbox", checked: !this.hidden.has(label) });
      input.addEventListener("change", () => {
        if (input.checked) this.hidden.delete(label);
        else this.hidden.add(label);
        this.paint();
        [...legend.querySelectorAll("input")].find((each) => each.dataset.label === String(label))?.focus();
      });
      input.dataset.label = label;
      const swatch = make("canvas", { width: 30, height: 16 });
      this.swatch(swatch.getContext("2d"), label, colour);
      legend.append(make("label", {}, input, swatch, title));
    }
  }

  swatch(context, label, colour) {
    context.fillStyle = rgb(colour, label === NON_VIABLE ? 0.5 : 1);
    context.fillRect(0, 0, 30, 16);
    if (label !== NON_VIABLE && label !== ABSTAINED) return;
    context.fillStyle = context.createPattern(stripes(HATCH_PX, ...LINES[label]), "repeat");
    context.fillRect(0, 0, 30, 16);
  }

  scaleLegend(legend) {
    const { ramp, top } = this.start;
    const from = this.threshold[this.chosen];
    byId("threshold").value = (from / this.layer.highest) * 100;
    byId("threshold-text").textContent = from.toFixed(2);
    const scale = make("canvas", { width: 204, height: 12 });
    const context = scale.getContext("2d");
    for (let x = 0; x < scale.width; x += 1) {
      const share = x / (scale.width - 1);
      context.fillStyle = share * this.layer.highest < from ? "#fff" : rgb(ramp[Math.round(share * top)]);
      context.fillRect(x, 0, 1, scale.height);
    }
    const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => share * this.layer.highest);
    const ticks = make("div", { className: "ticks" }, ...marks.map((each) => make("span", {}, String(each))));
    legend.append(scale, ticks);
    if (this.layer.limit !== null) {
      legend.append(make("p", {}, `Above ${this.layer.limit}: such tissue abstains, unless the settings say otherwise.`));
    }
  }
}

// Paints a canvas of one pixel per cell; cells without a colour stay clear.
function fill(canvas, rows, cols, colour) {
  Object.assign(canvas, { width: cols, height: rows });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(cols, rows);
  for (let at = 0; at < rows * cols; at += 1) {
    const found = colour(at);
    if (found) pixels.data.set(found, at * 4);
  }
  context.putImageData(pixels, 0, 0);
}

// One period of slanted lines, which repeats without a seam.
function stripes(side, colour, rise) {
  const tile = new OffscreenCanvas(side, side);
  const context = tile.getContext("2d");
  context.strokeStyle = colour;
  context.lineWidth = side * 0.2;
  for (const shift of [-side, 0, side]) {
    context.beginPath();
    context.moveTo(shift - 1, rise > 0 ? side + 1 : -1);
    context.lineTo(shift + side + 1, rise > 0 ? -1 : side + 1);
    context.stroke();
  }
  return tile;
}
