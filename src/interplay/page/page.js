"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const PER_PAGE = 200;
  const narrow = window.matchMedia("(max-width: 700px)");
  // Later versions of plotly have a button that hands the figure to a server: nothing leaves this machine.
  const config = {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "sendChartToCloud"],
  };
  const state = { sort: null, down: false, text: "", status: "", method: "", cell: null, page: 0, chosen: null };

  /** An element with attributes and children. Text goes in as text, never as markup. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function shown(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return Array.isArray(value) ? value.join(", ") : String(value);
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
  }

  // -- figures ------------------------------------------------------------------------------------------------------

  /** The height of a figure is the style sheet's; a narrow screen has no room for a colour bar or large letters. */
  function fitted(layout) {
    const small = narrow.matches;
    const modebar = { bgcolor: "rgba(255,255,255,0.7)", color: "#9aa3af", activecolor: "#374151" };
    return { ...layout, modebar, font: { ...layout.font, size: small ? 11 : 13 }, dragmode: small ? false : "zoom" };
  }

  function draw(id, chart) {
    const place = $("chart-" + id);
    if (!place) return;
    const traces = chart.data.map((trace) => (trace.type === "heatmap" ? { ...trace, showscale: !narrow.matches } : trace));
    Plotly.react(place, traces, fitted(chart.layout), config);
  }

  function drawAll() {
    for (const [id, chart] of Object.entries(data.charts)) draw(id, chart);
  }

  for (const id of Object.keys(data.charts)) {
    draw(id, data.charts[id]);
    $("chart-" + id)?.on("plotly_click", (event) => {
      const cell = event.points.map((point) => point.customdata).find((found) => typeof found === "number");
      if (cell !== undefined) chooseCell(cell);
    });
  }
  narrow.addEventListener("change", drawAll);

  // -- the table ----------------------------------------------------------------------------------------------------

  const runs = data.runs.map((run, number) => ({ ...run, number }));
  const columns = [
    { label: "run", of: (run) => run.id },
    { label: "status", of: (run) => run.status },
    ...data.columns.map((column, index) => ({ label: column.label, name: column.name, of: (run) => run.values[index] })),
  ];
  for (const column of columns) column.number = runs.some((run) => typeof column.of(run) === "number");
  const methodColumn = columns.find((column) => column.name === "method");
  for (const run of runs) {
    run.text = [...columns.map((column) => shown(column.of(run))), run.note || ""].join(" ").toLowerCase();
  }

  /** Numbers by size, words by their letters; what is missing stands last whichever way the column is sorted. */
  function compare(a, b, down) {
    const missing = (value) => value === null || value === undefined || value === "";
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return down ? -order : order;
  }

  function visible() {
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = runs.filter(
      (run) =>
        (!state.status || run.status === state.status) &&
        (!state.method || (methodColumn && methodColumn.of(run) === state.method)) &&
        (state.cell === null || run.cell === state.cell) &&
        words.every((word) => run.text.includes(word)),
    );
    const column = columns[state.sort];
    // Sorting is stable, so that equal rows keep the order in which they ended.
    return column ? found.sort((a, b) => compare(column.of(a), column.of(b), state.down)) : found;
  }

  function head() {
    const row = make("tr");
    columns.forEach((column, index) => {
      const button = make("button", { type: "button" }, column.label, make("span", { "aria-hidden": "true" }));
      button.addEventListener("click", () => {
        state.down = state.sort === index && !state.down;
        state.sort = index;
        state.page = 0;
        table();
      });
      row.append(make("th", { scope: "col", class: column.number ? "number" : "word" }, button));
    });
    $("runs").tHead.replaceChildren(row);
  }

  function table() {
    const found = visible();
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    state.page = Math.min(state.page, pages - 1);
    const first = state.page * PER_PAGE;
    [...$("runs").tHead.rows[0].cells].forEach((cell, index) => {
      const sorted = index === state.sort;
      if (sorted) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      cell.querySelector("span").textContent = sorted ? (state.down ? " ▾" : " ▴") : "";
    });
    const body = document.createDocumentFragment();
    for (const run of found.slice(first, first + PER_PAGE)) body.append(line(run));
    $("runs").tBodies[0].replaceChildren(body);
    $("count").textContent = found.length === runs.length ? `${runs.length} runs` : `${found.length} of ${runs.length} runs`;
    $("place").textContent = found.length ? `${first + 1} to ${Math.min(first + PER_PAGE, found.length)} of ${found.length}` : "";
    $("previous").disabled = state.page === 0;
    $("next").disabled = state.page >= pages - 1;
    document.querySelector(".pager").classList.toggle("single", pages === 1);
    $("cell").hidden = state.cell === null;
    $("cell").textContent = "one cell of a figure ×";
    $("cell").setAttribute("aria-label", "Show the runs of all cells again");
    save();
  }

  function line(run) {
    const row = make("tr", { "data-run": run.number });
    if (run.number === state.chosen) row.className = "chosen";
    if (run.note) row.title = run.note;
    columns.forEach((column, index) => {
      const value = column.of(run);
      const words = value === null || value === undefined ? "" : shown(value);
      if (index === 0) row.append(make("td", {}, make("button", { type: "button", title: words }, words)));
      else row.append(make("td", { class: index === 1 ? "status-" + value : column.number ? "number" : "word" }, words));
    });
    return row;
  }

  // -- the chosen run -----------------------------------------------------------------------------------------------

  function choose(number) {
    state.chosen = number;
    for (const row of $("runs").tBodies[0].rows) row.classList.toggle("chosen", Number(row.dataset.run) === number);
    const run = runs[number];
    const place = $("chosen");
    for (const old of place.querySelectorAll(".js-plotly-plot")) Plotly.purge(old);
    place.replaceChildren(make("h3", {}, `Run ${run.id}`));
    const values = Object.fromEntries(columns.map((column) => [column.label, column.of(run)]));
    const facts = Object.entries(values).filter(([name, value]) => name !== "run" && value !== null && value !== undefined);
    place.append(make("p", { class: "facts" }, facts.map(([name, value]) => `${name} ${shown(value)}`).join(" · ")));
    if (run.note) place.append(make("p", { class: "note" }, run.note));
    if (run.history) curves(place, run.history);
    else place.append(make("p", { class: "empty" }, "There are no training curves of this run."));
    const grid = make("div", { class: "facts-grid" });
    list(grid, "Specification", data.spec_names, run.spec);
    list(grid, "Collapse variables", data.collapse_names, run.collapse);
    const machine = run.environment === null ? null : data.environments[run.environment];
    if (machine) list(grid, "Environment", Object.keys(machine), Object.values(machine));
    place.append(grid);
    save();
  }

  function list(place, title, names, values) {
    if (!values) return;
    const items = make("dl");
    names.forEach((name, index) => {
      if (values[index] !== null) items.append(make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, shown(values[index])));
    });
    place.append(make("div", {}, make("h4", {}, title), items));
  }

  function curves(place, history) {
    const pair = make("div", { class: "pair" });
    place.append(pair);
    const kinds = { train: ["#0072B2", "training"], test: ["#D55E00", "test"], val: ["#009E73", "validation"] };
    const digit = history.epoch.length === 1 ? { dtick: 1 } : {};
    for (const [ending, title] of [["loss", "loss (nats)"], ["acc", "accuracy (%)"]]) {
      const traces = Object.entries(kinds)
        .filter(([kind]) => history[`${kind}_${ending}`])
        .map(([kind, [colour, name]]) => ({
          x: history.epoch, y: history[`${kind}_${ending}`], name, mode: history.epoch.length > 40 ? "lines" : "lines+markers",
          connectgaps: true, // the test images may be looked at every few epochs only
          line: { color: colour, width: 2 }, marker: { size: 4 }, hovertemplate: `${name}, epoch %{x}: %{y:.4g}<extra></extra>`,
        }));
      const box = make("div", { id: "curve-" + ending });
      pair.append(box);
      const axis = { automargin: true, gridcolor: "#e5e7eb", zeroline: false };
      Plotly.newPlot(box, traces, fitted({
        font: { family: getComputedStyle(document.body).fontFamily, color: "#1f2937" },
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 8, t: 8, b: 8 },
        xaxis: { ...axis, ...digit, title: { text: "epoch", standoff: 8 } }, yaxis: { ...axis, title: { text: title, standoff: 8 } },
        legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, showlegend: true, hovermode: "closest",
      }), config);
    }
  }

  function chooseCell(cell) {
    const first = runs.find((run) => run.cell === cell);
    if (!first) return;
    Object.assign(state, { cell, text: "", status: "", method: "", page: 0 });
    fields();
    table();
    choose(first.number);
    $("all-runs").scrollIntoView({ behavior: "smooth" });
  }

  // -- what a reload keeps ------------------------------------------------------------------------------------------

  const key = "interplay " + location.pathname;

  /** Runs are named by what does not change when others end. A browser may refuse to keep anything: then it does not. */
  function save() {
    try {
      const kept = { ...state, chosen: state.chosen === null ? null : runs[state.chosen].id, cell: null, scroll: window.scrollY };
      if (state.cell !== null) kept.cell = runs.find((run) => run.cell === state.cell).id;
      kept.inner = document.querySelector(".tall")?.scrollTop || 0;
      kept.focus = document.activeElement?.id === "filter";
      sessionStorage.setItem(key, JSON.stringify(kept));
    } catch { /* kept nowhere */ }
  }

  function kept() {
    try {
      return JSON.parse(sessionStorage.getItem(key));
    } catch {
      return null;
    }
  }

  function fields() {
    $("filter").value = state.text;
    $("status").value = state.status;
    $("method").value = state.method;
    if ($("status").selectedIndex < 0) state.status = $("status").value = "";
    if ($("method").selectedIndex < 0) state.method = $("method").value = "";
  }

  function restore(old) {
    const named = (id) => runs.find((run) => run.id === id);
    Object.assign(state, { ...old, cell: named(old.cell)?.cell ?? null, chosen: named(old.chosen)?.number ?? null });
    if (state.sort !== null && !columns[state.sort]) state.sort = null;
    fields();
  }

  if ($("runs")) {
    head();
    const old = kept();
    if (old) restore(old);
    table();
    const initial = state.chosen ?? runs.find((run) => run.history)?.number;
    if (initial !== undefined) choose(initial);
    for (const [id, event] of [["filter", "input"], ["status", "change"], ["method", "change"]]) {
      $(id).addEventListener(event, () => {
        state[id === "filter" ? "text" : id] = $(id).value;
        state.page = 0;
        table();
      });
    }
    $("runs").tBodies[0].addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) choose(Number(row.dataset.run));
    });
    const turn = (by) => () => {
      state.page += by;
      table();
      document.querySelector(".tall").scrollTop = 0;
    };
    $("previous").addEventListener("click", turn(-1));
    $("next").addEventListener("click", turn(1));
    $("cell").addEventListener("click", () => {
      state.cell = null;
      table();
    });
    if (old) {
      history.scrollRestoration = "manual";
      window.scrollTo(0, old.scroll || 0);
      document.querySelector(".tall").scrollTop = old.inner || 0;
      if (old.focus) $("filter").focus({ preventScroll: true });
    }
    window.addEventListener("pagehide", save);
  }

  // A page that nobody looks at waits until somebody does; one being dragged or opened in a menu is not torn away.
  if (data.refresh) {
    let pressed = false;
    window.addEventListener("pointerdown", () => { pressed = true; });
    window.addEventListener("pointerup", () => { pressed = false; });
    window.addEventListener("pointercancel", () => { pressed = false; });
    const reload = () => {
      if (document.hidden || pressed) setTimeout(reload, 1000);
      else { if ($("runs")) save(); location.reload(); }
    };
    setTimeout(reload, 1000 * data.refresh);
  }
})();
