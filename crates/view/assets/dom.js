// Builds elements. Texts become text nodes, never markup: what a run holds is shown, and cannot do anything.

/** An element with properties, listeners (`on`) and children: elements, texts, or lists of them; null is left out. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (name === "value" || name === "checked") made[name] = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  append(made, children);
  return made;
}

function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined) continue;
    parent.append(child instanceof Node ? child : String(child));
  }
}

/** Replaces the children of an element. */
export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

/**
 * A table with a caption; `columns` are `{ title, number, text, cell(row) }`. It scrolls by itself when it is wide. Names are
 * never broken; a column with `text` has texts of a run, which may have no place for a break.
 */
export function table(caption, columns, rows) {
  const kind = (column) => (column.number ? { class: "number" } : column.text ? { class: "text" } : {});
  const head = columns.map((column) => element("th", { scope: "col", ...kind(column) }, column.title));
  const line = (row) =>
    element(
      "tr",
      {},
      columns.map((column) => element("td", kind(column), column.cell(row))),
    );
  const body = element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, head)),
    element("tbody", {}, rows.map(line)),
  );
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, body);
}

/** A list of figures with their names; those that are null are left out. */
export function figures(entries) {
  const known = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element(
    "dl",
    { class: "figures" },
    known.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

/** A text of a run, with its line breaks; one that was cut says so. */
export function shown(label, text) {
  const cut = text.cut ? `\n… ${text.chars - [...text.text].length} further characters` : "";
  return element("pre", { tabindex: 0, role: "region", "aria-label": label }, text.text === "" ? "(empty)" : text.text + cut);
}

/** A number as people write it; `–` for one that is not known. */
export function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
}

/**
 * A share in percent with one decimal, without the sign, rounded as rlar's reports round it: halves to the even digit, and what
 * lies beyond the ninth decimal does not count.
 */
export function inPercent(value) {
  const billionths = Math.round(Math.abs(value) * 1e11);
  const [whole, rest] = [Math.floor(billionths / 1e8), billionths % 1e8];
  const tenths = whole + (rest > 5e7 || (rest === 5e7 && whole % 2 === 1) ? 1 : 0);
  return `${value < 0 && tenths > 0 ? "-" : ""}${Math.floor(tenths / 10)}.${tenths % 10}`;
}

/** A share as a percentage; `–` for one that is not known. */
export function percent(value) {
  return value === null || value === undefined || !Number.isFinite(value) ? "–" : `${inPercent(value)} %`;
}

/** A count with its noun. */
export function count(n, one, many = `${one}s`) {
  return `${n} ${n === 1 ? one : many}`;
}

/** A remark about something that is wrong. */
export function note(...children) {
  return element("p", { class: "note" }, ...children);
}

/** Remarks about files that could not be read whole. */
export function problems(list) {
  const words = (problem) => `${problem.file}${problem.line === null ? "" : `, line ${problem.line}`}: ${problem.message}`;
  if (list.length === 0) return null;
  return element(
    "details",
    { class: "note" },
    element("summary", {}, `${count(list.length, "thing")} could not be read`),
    element(
      "ul",
      {},
      list.slice(0, 50).map((problem) => element("li", {}, words(problem))),
    ),
  );
}
