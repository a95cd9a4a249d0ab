// A plot of curves over steps that leads to the replies of a step, with the mouse or the keyboard.

import uPlot from "./vendor/uPlot.js";
import { element, fill, number } from "./dom.js";
import { smooth } from "./series.js";

// After the palette of Okabe and Ito, darker or lighter where a colour would not stand out from the ground; dashes tell curves
// apart, too.
const LIGHT = ["#0072B2", "#D55E00", "#007A59", "#B4588C", "#000000", "#9A6A00"];
const DARK = ["#56B4E9", "#E69F00", "#00B386", "#E3A1C6", "#F0E442", "#FF7B24"];
const DASHES = [[], [9, 4], [2, 3], [12, 4, 2, 4]];
const MOST = 12;

// The charts whose plots are drawn. A plot listens to the window until it is destroyed.
const drawn = new Set();

const dark = matchMedia("(prefers-color-scheme: dark)");

function style(index) {
  const colours = dark.matches ? DARK : LIGHT;
  const dash = DASHES[(Math.floor(index / colours.length) + index) % DASHES.length];
  return { colour: colours[index % colours.length], dash };
}

/** A plot. `open(step, curve)` is called for a chosen step and the curve that was clicked, `zoom(from, to)` for a chosen range. */
export class Chart {
  constructor(title, { open, zoom, unit = "step" }) {
    Object.assign(this, { title, open, zoom, unit, index: null, curves: [], plot: null, isSeen: false, isDrawn: true });
    this.readout = element("p", { class: "readout" });
    this.keys = element("ul", { class: "keys" });
    this.remarks = element("div");
    this.area = element("div", {
      class: "chart-plot",
      role: "slider",
      tabindex: 0,
      "aria-label": `${title}, ${unit}`,
      "aria-valuemin": 0,
      "aria-valuemax": 0,
      "aria-valuenow": 0,
      on: { keydown: (event) => this.key(event) },
    });
    // A plot is drawn when it comes into sight, because a page has many.
    const watch = new IntersectionObserver(
      (entries) => {
        this.isSeen = entries.at(-1).isIntersecting;
        if (this.isSeen && !this.isDrawn) this.draw();
      },
      { rootMargin: "200px" },
    );
    watch.observe(this.area);
    new ResizeObserver(() => this.resize()).observe(this.area);
    this.element = element(
      "section",
      { class: "chart", "aria-label": title },
      element("h2", {}, title),
      this.area,
      this.keys,
      this.readout,
      this.remarks,
    );
  }

  /** Shows remarks below the plot, in the place of those before. */
  remark(...remarks) {
    fill(this.remarks, ...remarks);
  }

  /** Shows curves `{ label, steps, mean, low, high }`; `look` is `{ smoothing, log, marks, bands }`; a single curve always has its band. */
  show(curves, look) {
    this.look = look;
    this.curves = curves.slice(0, MOST);
    const tables = this.curves.map(({ steps, mean, low, high }) => [steps, mean, smooth(mean, look.smoothing), low, high]);
    this.data = tables.length === 0 ? [[]] : uPlot.join(tables);
    const steps = this.data[0];
    if (this.index !== null && this.index >= steps.length) this.index = null;
    this.area.setAttribute("aria-valuemin", steps[0] ?? 0);
    this.area.setAttribute("aria-valuemax", steps.at(-1) ?? 0);
    this.isDrawn = false;
    if (this.isSeen) this.draw();
    const left = curves.length - this.curves.length;
    fill(
      this.keys,
      this.curves.length > 1 ? this.curves.map((curve, i) => element("li", {}, swatch(i), curve.label)) : null,
      left > 0 ? element("li", {}, `${left} more are left out`) : null,
    );
    this.say();
  }

  draw() {
    this.isDrawn = true;
    this.plot?.destroy();
    for (const chart of drawn) {
      if (chart.area.isConnected) continue;
      chart.plot.destroy();
      chart.plot = null;
      drawn.delete(chart);
    }
    drawn.add(this);
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const [text, grid, edge] = [colour("--muted"), colour("--grid"), colour("--edge")];
    const hasBands = this.curves.length === 1 || this.look.bands === true;
    const series = [{}];
    const bands = [];
    this.curves.forEach((curve, i) => {
      const { colour: stroke, dash } = style(i);
      const isSmooth = this.look.smoothing > 0;
      const line = { stroke, dash, spanGaps: true, points: { show: curve.steps.length < 2 } };
      const hidden = { show: hasBands, stroke: "transparent", points: { show: false }, spanGaps: true };
      series.push({ ...line, width: 1, alpha: 0.35, show: isSmooth }, { ...line, width: 2 }, hidden, { ...hidden });
      if (hasBands) bands.push({ series: [4 * i + 4, 4 * i + 3], fill: `${stroke}26` });
    });
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: edge, width: 1 }, font: "12px system-ui" };
    const isLog =
      this.look.log && this.data.slice(1).every((values) => values.every((v) => v === null || v === undefined || v > 0));
    this.plot = new uPlot(
      {
        width: Math.max(this.area.clientWidth, 200),
        height: 230,
        legend: { show: false },
        series,
        bands,
        scales: { x: { time: false }, y: isLog ? { distr: 3 } : {} },
        axes: [
          { ...axis, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? String(tick) : "")) },
          { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick, 3))) },
        ],
        cursor: { y: false, drag: { x: true, y: false, setScale: false }, points: { show: false } },
        hooks: {
          setCursor: [(plot) => this.hover(plot)],
          setSelect: [(plot) => this.select(plot)],
          draw: [(plot) => this.drawMarks(plot, edge)],
        },
      },
      this.data,
      this.area,
    );
    this.plot.over.addEventListener("click", (event) => {
      if (this.dragged) this.dragged = false;
      else this.choose(event.offsetY);
    });
  }

  /** Fits the plot to the width of its place. */
  resize() {
    if (this.area.clientWidth > 0) this.plot?.setSize({ width: this.area.clientWidth, height: 230 });
  }

  drawMarks(plot, colour) {
    const context = plot.ctx;
    context.save();
    context.strokeStyle = colour;
    context.setLineDash([3, 5]);
    for (const { step } of this.look.marks) {
      const x = plot.valToPos(step, "x", true);
      if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) continue;
      context.beginPath();
      context.moveTo(x, plot.bbox.top);
      context.lineTo(x, plot.bbox.top + plot.bbox.height);
      context.stroke();
    }
    context.restore();
  }

  hover(plot) {
    const index = plot.cursor.idx;
    if (index === null || index === undefined || index === this.index) return;
    this.index = index;
    this.say();
  }

  select(plot) {
    const { left, width } = plot.select;
    if (width < 5) return;
    this.dragged = true;
    const at = (x) => Math.round(plot.posToVal(x, "x"));
    this.zoom(at(left), at(left + width));
  }

  key(event) {
    const last = this.data[0].length - 1;
    const now = this.index ?? last;
    const moves = {
      ArrowLeft: now - 1,
      ArrowRight: now + 1,
      ArrowDown: now - 1,
      ArrowUp: now + 1,
      PageDown: now - 10,
      PageUp: now + 10,
      Home: 0,
      End: last,
    };
    if (event.key === "Enter") this.choose();
    else if (event.key in moves && last >= 0) {
      this.index = Math.min(Math.max(moves[event.key], 0), last);
      this.plot?.setCursor({ left: this.plot.valToPos(this.data[0][this.index], "x"), top: 10 }, false);
      this.say();
    } else return;
    event.preventDefault();
  }

  /** Opens the chosen step of the curve nearest to a height in the plot, in pixels; without one, of the first curve. */
  choose(height) {
    const index = this.index ?? this.data[0].length - 1;
    const step = this.data[0][index];
    if (step === undefined) return;
    const drawn = this.curves.map((curve, i) => ({ curve, value: this.data[4 * i + 2][index] }));
    const here = drawn.filter(({ value }) => value !== null && value !== undefined);
    if (height !== undefined && this.plot !== null) {
      const distance = ({ value }) => Math.abs(this.plot.valToPos(value, "y") - height);
      here.sort((a, b) => distance(a) - distance(b));
    }
    this.open(step, here[0]?.curve ?? this.curves[0]);
  }

  /** Says the values at the chosen step, or at the last one. */
  say() {
    const steps = this.data[0];
    const index = this.index ?? steps.length - 1;
    if (index < 0) {
      this.readout.textContent = `no ${this.unit}s yet`;
      return;
    }
    const values = this.curves.map((curve, i) => {
      const [value, low, high] = [this.data[4 * i + 1], this.data[4 * i + 3], this.data[4 * i + 4]].map(
        (values) => values[index],
      );
      const spread = low !== high && low !== null && low !== undefined ? ` (${number(low)} to ${number(high)})` : "";
      return `${this.curves.length > 1 ? `${curve.label} ` : ""}${number(value)}${spread}`;
    });
    const text = `${this.unit} ${steps[index]}: ${values.join(", ")}`;
    this.readout.textContent = text;
    this.area.setAttribute("aria-valuenow", steps[index]);
    this.area.setAttribute("aria-valuetext", text);
  }
}

/** A piece of a curve's line, for the list of curves. */
export function swatch(index) {
  const { colour, dash } = style(index);
  const made = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const svg = made("svg", { width: 26, height: 8, "aria-hidden": "true" });
  svg.append(
    made("line", { x1: 0, x2: 26, y1: 4, y2: 4, stroke: colour, "stroke-width": 3, "stroke-dasharray": dash.join(" ") }),
  );
  return svg;
}

/** Calls `changed` when the colours of the page change. */
export function onColours(changed) {
  dark.addEventListener("change", changed);
}
