// The slide: its tiles by OpenSeadragon, what is drawn over them, the scale bar, and moving about.
/* global OpenSeadragon */

import { byId, notice } from "./dom.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

// A tile source of the levels that the server names; OpenSeadragon counts levels from the coarsest.
function source(slide) {
  const last = slide.levels.length - 1;
  const level = (number) => slide.levels[last - number];
  return {
    width: slide.size_l0[0],
    height: slide.size_l0[1],
    minLevel: 0,
    maxLevel: last,
    tileWidth: level(last).tile[0],
    tileHeight: level(last).tile[1],
    getLevelScale: (number) => 1 / level(number).downsample,
    getTileWidth: (number) => level(number).tile[0],
    getTileHeight: (number) => level(number).tile[1],
    getNumTiles: (number) => new OpenSeadragon.Point(level(number).shape[1], level(number).shape[0]),
    getTileUrl: (number, x, y) => `api/slides/${slide.key}/tiles/${last - number}/${y}/${x}`,
  };
}

export class SlideImage {
  constructor() {
    this.drawers = []; // functions (context, place) that draw over the slide
    this.slide = null;
    this.osd = OpenSeadragon({
      element: byId("image"),
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "BOTTOM_LEFT",
      navigatorAutoFade: false,
      navigatorWidth: "160px",
      navigatorHeight: "120px",
      navigatorBackground: "#fff",
      navigatorBorderColor: "#c9ccd1",
      navigatorDisplayRegionColor: "#0b5cad",
      keyboardNavEnabled: false,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      minPixelRatio: 0.4,
      minZoomImageRatio: 0.7,
      maxZoomPixelRatio: 4,
      visibilityRatio: 0.2,
      animationTime: calm ? 0 : 0.5,
      maxImageCacheCount: 600,
      imageLoaderLimit: 8,
    });
    this.osd.addHandler("update-viewport", () => this.draw());
    this.osd.addHandler("tile-load-failed", (event) => this.explain(event.tile.getUrl()));
  }

  // Shows a slide; settles when it is open.
  open(slide) {
    this.slide = slide;
    this.explained = false;
    notice(slide.note);
    return new Promise((settle, fail) => {
      this.osd.addOnceHandler("open", () => {
        this.home(true);
        settle();
      });
      this.osd.addOnceHandler("open-failed", (event) => fail(new Error(event.message)));
      this.osd.open(source(slide));
    });
  }

  // Calls back with the level-0 position of each click on the slide.
  onClick(called) {
    this.osd.addHandler("canvas-click", (event) => {
      if (!event.quick || !this.slide) return;
      const at = this.osd.viewport.viewerElementToImageCoordinates(event.position);
      called(at.x, at.y);
    });
  }

  // Says once why tiles of a slide are missing.
  async explain(url) {
    if (this.explained) return;
    this.explained = true;
    const response = await fetch(url).catch(() => null);
    const told = response && !response.ok ? await response.json().catch(() => ({})) : {};
    notice(told.error || "Part of the slide could not be loaded.");
  }

  get isOpen() {
    return Boolean(this.slide) && this.osd.world.getItemCount() > 0;
  }

  // Shows a box of level-0 pixels, with a margin in shares of its sides.
  show(left, top, width, height, margin = 0, atOnce = calm) {
    const box = new OpenSeadragon.Rect(
      left - width * margin,
      top - height * margin,
      width * (1 + 2 * margin),
      height * (1 + 2 * margin),
    );
    this.osd.viewport.fitBounds(this.osd.viewport.imageToViewportRectangle(box), atOnce);
  }

  home(atOnce = calm) {
    const { x_l0, y_l0, width_l0, height_l0 } = this.slide.grid;
    this.show(x_l0, y_l0, width_l0, height_l0, 0.02, atOnce);
  }

  zoom(factor) {
    this.osd.viewport.zoomBy(factor).applyConstraints();
  }

  pan(across, down) {
    const bounds = this.osd.viewport.getBounds();
    const step = new OpenSeadragon.Point(across * bounds.width * 0.2, down * bounds.height * 0.2);
    this.osd.viewport.panBy(step).applyConstraints();
  }

  // What is visible, in level-0 pixels.
  get visible() {
    return this.osd.viewport.viewportToImageRectangle(this.osd.viewport.getBounds(true));
  }

  // Where a box of level-0 pixels lies on the canvas, in its pixels.
  place(left, top, width, height) {
    const scale = globalThis.devicePixelRatio || 1;
    const at = (x, y) => this.osd.viewport.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));
    const [from, to] = [at(left, top), at(left + width, top + height)];
    return [from.x * scale, from.y * scale, (to.x - from.x) * scale, (to.y - from.y) * scale];
  }

  draw() {
    if (!this.isOpen) return;
    const canvas = byId("overlay");
    const scale = globalThis.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    for (const drawer of this.drawers) {
      context.save();
      drawer(context, (...box) => this.place(...box), scale);
      context.restore();
    }
    this.drawScale();
  }

  drawScale() {
    const [, , px] = this.place(0, 0, 1, 1).map((value) => value / (globalThis.devicePixelRatio || 1));
    const most = (160 / px) * this.slide.mpp[0];
    const power = 10 ** Math.floor(Math.log10(most));
    const um = [5, 2, 1].find((step) => step * power <= most) * power;
    byId("scale-bar").style.width = `${(um / this.slide.mpp[0]) * px}px`;
    byId("scale-text").textContent = um >= 1000 ? `${um / 1000} mm` : `${um} µm`;
  }
}

// A square around a box, seen on light and on dark tissue.
export function outline(context, box, colour, scale, width = 3, dash = []) {
  context.setLineDash(dash.map((length) => length * scale));
  for (const [style, wide] of [["#000c", width + 2], [colour, width]]) {
    context.strokeStyle = style;
    context.lineWidth = wide * scale;
    context.strokeRect(...box);
  }
  context.setLineDash([]);
}
