"use strict";
/* What all parts of the page share: its data, small helpers, and the colours of the theme. A page that takes the place of
   this one declares the same name again, which a constant would forbid. */
var lab = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const narrow = window.matchMedia("(max-width: 700px)");
  const ending = new AbortController(); // of what listens to the window, when another page takes the place of this one

  /** An element with attributes and children. Text goes in as text, never as markup. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function shown(value) {
    if (value === null || value === undefined) return "–";
    if (Array.isArray(value)) return value.every((each) => typeof each !== "object") ? value.join(", ") : JSON.stringify(value);
    if (typeof value !== "number") return typeof value === "object" ? JSON.stringify(value) : String(value);
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
  }

  // Runs are kept as columns; here each becomes an object again.
  function unpacked() {
    const { id, status, note, cell, values, spec, has_spec, collapse, environment, history } = data.runs;
    return id.map((name, number) => ({
      number, id: name, status: data.states[status[number]], note: note[number] ?? null, cell: cell[number],
      values: values.map((column) => column[number]),
      spec: has_spec[number] ? spec.map((column) => column[number]) : null,
      collapse: collapse[number],
      environment: environment[number],
      history: history[number],
    }));
  }

  const columns = [
    { label: "run", name: "run", of: (run) => run.id },
    { label: "status", name: "status", of: (run) => run.status },
    ...data.columns.map((column, index) => ({ ...column, of: (run) => run.values[index] })),
  ];
  const runs = unpacked();
  for (const column of columns) column.number = runs.some((run) => typeof column.of(run) === "number");
  const lower = !data.metric.includes("acc");

  /** The look of a figure that the page makes by itself; those of Python bring theirs. */
  function layout(x, y, more = {}) {
    const axis = { automargin: true, gridcolor: "var(--line)", linecolor: "var(--soft)", zeroline: false };
    return {
      font: { family: getComputedStyle(document.body).fontFamily, color: "var(--ink)" },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 8, t: 8, b: 8 },
      xaxis: { ...axis, ...more, title: { text: x, standoff: 8 } }, yaxis: { ...axis, title: { text: y, standoff: 8 } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, showlegend: true, hovermode: "closest",
      hoverlabel: { align: "left", bgcolor: "var(--card)", font: { color: "var(--ink)" } },
    };
  }

  return { layout, data, $, narrow, ending, make, shown, runs, columns, lower, better: (a, b) => (lower ? a - b : b - a) };
})();
