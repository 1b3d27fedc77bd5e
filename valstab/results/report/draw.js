"use strict";
// Elements and charts. All text becomes text nodes, never markup.

/** Return a new HTML element; children that are not nodes become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/** Return a new SVG element; coordinates in percent make it grow with the page. */
function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Return a name of a user's choice, isolated from the writing direction around it. */
function named(text) {
  return make("bdi", {}, text);
}

function byId(id) {
  return document.getElementById(id);
}

function number(value, decimals = 3) {
  return value === null ? "–" : value.toFixed(decimals).replace(/^-(?=0\.?0*$)/, "");
}

function withError(mean, error, decimals = 3) {
  return number(mean, decimals) + (error === null || mean === null ? "" : ` ± ${number(error, decimals)}`);
}

function percent(share, decimals = 1) {
  return share === null ? "–" : `${(100 * share).toFixed(decimals)}%`;
}

function plural(count, name) {
  return `${count.toLocaleString("en")} ${name}${count === 1 ? "" : "s"}`;
}

/** Fill a select with names; an option's value is the name's index. */
function fill(select, names, first = null) {
  const options = names.map((name, place) => make("option", { value: place, dir: "auto" }, name));
  select.replaceChildren(...(first === null ? [] : [make("option", { value: "" }, first)]), ...options);
}

/**
 * Return a heat map as a table, which can be read aloud, scrolled on a phone, and printed.
 *
 * `strength` maps a value to -1 ... 1, the depth of its colour. `describe` returns a cell's description, which `readout`
 * shows when the cell is pointed at or focused. `extra` has one more column: its `head`, and its `cell` for a row.
 */
function heatMap({ caption, rows, columns, values, strength, describe, readout, extra = null, decimals = 2 }) {
  const cells = (row) =>
    columns.map((_, column) => {
      const value = values[row][column];
      if (value === null) return make("td", { class: "cell none" }, "–");
      const description = describe(row, column, value);
      const cell = make("td", { class: "cell", tabindex: 0, title: description }, number(value, decimals));
      const depth = strength(value);
      cell.classList.add(depth < 0 ? "negative" : "positive");
      cell.style.setProperty("--strength", Math.min(1, Math.abs(depth)));
      for (const event of ["mouseenter", "focus"]) cell.addEventListener(event, () => (readout.textContent = description));
      return cell;
    });
  return make(
    "table",
    { class: "heat" },
    make("caption", {}, caption),
    make(
      "thead",
      {},
      make("tr", {}, make("td"), ...columns.map((name) => make("th", { scope: "col" }, named(name))), ...(extra ? [extra.head] : [])),
    ),
    make(
      "tbody",
      {},
      ...rows.map((name, row) =>
        make("tr", {}, make("th", { scope: "row" }, named(name)), ...cells(row), ...(extra ? [extra.cell(row)] : [])),
      ),
    ),
  );
}

/** Return bars with their numbers as a table. A row is {label, value, error, text}; the axis goes from `low` to `high`. */
function bars({ caption, rows, low, high, reference = null }) {
  const place = (value) => `${(100 * (Math.min(Math.max(value, low), high) - low)) / (high - low)}%`;
  const width = (from, to) => `${(100 * (Math.min(to, high) - Math.max(from, low))) / (high - low)}%`;
  const bar = ({ value, error }) => {
    const picture = svg("svg", { class: "bar", "aria-hidden": "true" });
    if (value !== null) {
      const [from, to] = value < 0 ? [value, 0] : [0, value];
      picture.append(svg("rect", { class: "value", x: place(from), y: "15%", width: width(from, to), height: "70%" }));
      if (error) {
        const [x1, x2] = [place(value - error), place(value + error)];
        picture.append(svg("line", { class: "error", x1, x2, y1: "50%", y2: "50%" }));
      }
    }
    if (low < 0) picture.append(svg("line", { class: "zero", x1: place(0), x2: place(0), y1: 0, y2: "100%" }));
    if (reference !== null) {
      const x = place(reference);
      picture.append(svg("line", { class: "reference", x1: x, x2: x, y1: 0, y2: "100%" }));
    }
    return picture;
  };
  return make(
    "table",
    { class: "bars" },
    make("caption", {}, caption),
    make(
      "tbody",
      {},
      ...rows.map((row) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, row.label),
          make("td", { class: "track" }, bar(row)),
          make("td", { class: "number" }, row.text),
        ),
      ),
    ),
  );
}

/** Return dots on a line, one per value, to show their spread. */
function dots(values, low, high) {
  const known = values.filter((value) => value !== null);
  const place = (value) => `${4 + (92 * (value - low)) / (high - low || 1)}%`;
  return svg(
    "svg",
    { class: "dots", "aria-hidden": "true" },
    svg("line", { class: "zero", x1: "0%", x2: "100%", y1: "50%", y2: "50%" }),
    ...known.map((value) => svg("circle", { cx: place(value), cy: "50%", r: 4 })),
  );
}
