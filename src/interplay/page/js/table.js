/* The table of runs, which is kept by DataTables, and the run that was chosen. */
lab.table = (() => {
  const { data, $, make, shown, runs, columns, lower } = lab;
  if (!$("table")) return null;
  const state = { text: "", status: "", method: "", cell: null, chosen: null };
  const missing = (value) => value === null || value === undefined || value === "";

  // -- filtering ----------------------------------------------------------------------------------------------------

  const plain = (word) => word.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
  const texts = runs.map((run) => [...columns.map((column) => shown(column.of(run))), run.note || ""].join(" ").toLowerCase());

  /** The column that a word such as lr, decay, B or final_test_acc names; an exact name before one that begins so. */
  function named(word) {
    const wanted = plain(word);
    const names = columns.map((column) => [plain(column.name), ...column.label.split(/\s+/).map(plain), plain(column.label)]);
    const aliases = { wd: "weight_decay", acc: data.metric, loss: data.metric, mu: "momentum", μ: "momentum", b: "batch_size" };
    const exact = names.findIndex((each) => each.includes(wanted));
    if (exact >= 0) return columns[exact];
    const alias = columns.find((column) => column.name === aliases[wanted]);
    return alias || columns[names.findIndex((each) => each.some((name) => name.startsWith(wanted)))];
  }

  /** A test of one run for each word; ``column=value`` and the like compare, all else is looked for. */
  function tests(text) {
    return text.trim().split(/\s+/).filter(Boolean).map((word) => {
      const found = /^([^<>=!]+)(<=|>=|!=|=|<|>)(.+)$/.exec(word);
      const column = found && named(found[1]);
      if (!column) return (run) => texts[run.number].includes(word.toLowerCase());
      const [, , sign, right] = found;
      const number = Number(right);
      return (run) => {
        const value = column.of(run);
        if (missing(value)) return sign === "!=";
        const both = typeof value === "number" && !Number.isNaN(number);
        const order = both ? (Math.abs(value - number) <= 1e-9 * Math.abs(number) ? 0 : value - number) : String(value).localeCompare(right, "en", { numeric: true, sensitivity: "base" });
        return { "=": order === 0, "!=": order !== 0, "<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0 }[sign];
      };
    });
  }

  let words = [];
  const methodColumn = columns.find((column) => column.name === "method");
  const visible = (run) =>
    (!state.status || run.status === state.status) &&
    (!state.method || (methodColumn && methodColumn.of(run) === state.method)) &&
    (state.cell === null || run.cell === state.cell) &&
    words.every((test) => test(run));

  // -- the table ----------------------------------------------------------------------------------------------------

  const escaped = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
  // Numbers by size, words by their letters; what is missing stands last whichever way the column is sorted.
  const compare = (down) => (a, b) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return down ? -order : order;
  };
  DataTable.type("lab", { order: { pre: (value) => value, asc: compare(false), desc: compare(true) } });

  function cellOf(column, index) {
    return (run, type) => {
      const value = column.of(run);
      if (type !== "display") return value;
      const text = missing(value) ? "" : escaped(shown(value));
      return index === 0 ? `<button type="button" title="${text}">${text}</button>` : text;
    };
  }

  // What all runs share is said below; its column can be shown by "Columns".
  const varies = (column) => runs.length < 2 || runs.some((run) => column.of(run) !== column.of(runs[0]));

  $("table").append(make("table", { id: "runs", class: "runs" }));
  const metric = columns.findIndex((column) => column.name === data.metric);
  const table = new DataTable("#runs", {
    data: runs,
    columns: columns.map((column, index) => ({
      title: column.label, data: cellOf(column, index), type: "lab", name: column.name, visible: index < 2 || varies(column),
      orderSequence: ["asc", "desc"], className: index === 1 ? "status" : column.number ? "number" : "word",
    })),
    createdRow: (row, run) => {
      row.dataset.run = run.number;
      row.cells[1]?.classList.add("status-" + run.status);
      if (run.note) row.title = run.note;
    },
    order: metric >= 0 ? [[metric, lower ? "asc" : "desc"]] : [],
    autoWidth: false, pageLength: 50, lengthMenu: [25, 50, 200, 1000], deferRender: true,
    caption: "All runs, the best first",
    layout: {
      topStart: { buttons: [{ extend: "colvis", text: "Columns" }, { extend: "csv", text: "CSV", filename: "runs", exportOptions: { orthogonal: "export", stripHtml: false, columns: ":visible" } }] },
      topEnd: null, bottomStart: ["info", "pageLength"], bottomEnd: "paging",
    },
    language: { info: "_START_ to _END_ of _TOTAL_", infoFiltered: "", infoEmpty: "none", lengthMenu: "_MENU_ rows", zeroRecords: "No run is like that.", emptyTable: "There are no runs yet." },
  });
  // The frame that scrolls is reached by the keyboard, too.
  const frame = make("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "All runs" });
  $("runs").replaceWith(frame);
  frame.append(table.table().node());
  table.search.fixed("lab", (text, run) => visible(run));

  function refresh() {
    words = tests(state.text);
    table.draw();
    save();
  }

  table.on("draw", () => {
    const found = table.rows({ search: "applied" }).count();
    $("count").textContent = found === runs.length ? `${runs.length} runs` : `${found} of ${runs.length} runs`;
    $("cell").hidden = state.cell === null;
    $("cell").textContent = "one cell of a figure ×";
    $("cell").setAttribute("aria-label", "Show the runs of all cells again");
    mark();
    lab.explore?.update(table.rows({ search: "applied" }).data().toArray());
  });

  function mark() {
    for (const row of frame.querySelectorAll("tbody tr")) {
      const chosen = Number(row.dataset.run) === state.chosen;
      row.classList.toggle("chosen", chosen);
      row.querySelector("button")?.setAttribute("aria-pressed", chosen);
    }
  }

  // -- the chosen run -----------------------------------------------------------------------------------------------

  function choose(number) {
    state.chosen = number;
    mark();
    const run = runs[number];
    const place = $("chosen");
    for (const old of place.querySelectorAll(".js-plotly-plot")) Plotly.purge(old);
    place.replaceChildren(make("h3", {}, `Run ${run.id}`));
    const facts = columns.slice(1).map((column) => [column.label, column.of(run)]).filter(([, value]) => !missing(value));
    place.append(make("p", { class: "facts" }, facts.map(([name, value]) => `${name} ${shown(value)}`).join(" · ")));
    if (run.note) place.append(make("p", { class: "note" }, run.note));
    if (run.history) curves(place, run.history);
    else place.append(make("p", { class: "empty" }, "There are no training curves of this run."));
    const grid = make("div", { class: "facts-grid" });
    if (run.spec) {
      list(grid, "Specification", [...data.spec_names, ...Object.keys(data.shared)], [...run.spec, ...Object.values(data.shared)]);
    }
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
      if (!missing(values[index])) items.append(make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, shown(values[index])));
    });
    place.append(make("div", {}, make("h4", {}, title), items));
  }

  function curves(place, history) {
    const pair = make("div", { class: "pair" });
    place.append(pair);
    const kinds = { train: ["var(--c1)", "training"], test: ["var(--c2)", "test"], val: ["var(--c3)", "validation"] };
    const epochs = history[0];
    for (const [ending, title] of [["loss", "loss (nats)"], ["acc", "accuracy (%)"]]) {
      const traces = Object.entries(kinds)
        .map(([kind, look]) => [history[1 + data.history_names.indexOf(`${kind}_${ending}`)], data.history_names.includes(`${kind}_${ending}`), ...look])
        .filter(([values, there]) => there && values.some((value) => value !== null))
        .map(([values, , colour, name]) => ({
          x: epochs, y: values, name, mode: epochs.length > 40 ? "lines" : "lines+markers",
          connectgaps: true, // the test images may be looked at every few epochs only
          line: { color: colour, width: 2 }, marker: { size: 4 }, hovertemplate: `${name}, epoch %{x}: %{y:.4g}<extra></extra>`,
        }));
      pair.append(make("div", { id: "curve-" + ending, role: "img", "aria-label": `${title} of the chosen run over epochs` }));
      lab.figures.show("curve-" + ending, traces, lab.layout("epoch", title, epochs.length === 1 ? { dtick: 1 } : {}));
    }
  }

  function chooseCell(cell) {
    const first = runs.find((run) => run.cell === cell);
    if (!first) return;
    Object.assign(state, { cell, text: "", status: "", method: "" });
    fields();
    refresh();
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
      kept.inner = frame.scrollTop;
      kept.order = table.order().map(([column, way]) => [column, way]);
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
    for (const [id, name] of [["filter", "text"], ["status", "status"], ["method", "method"]]) {
      if (!$(id)) continue;
      $(id).value = state[name];
      if ($(id).selectedIndex < 0) state[name] = $(id).value = "";
    }
  }

  function start() {
    const old = kept();
    if (old) {
      const found = (id) => runs.find((run) => run.id === id);
      Object.assign(state, { text: old.text, status: old.status, method: old.method, cell: found(old.cell)?.cell ?? null });
      state.chosen = found(old.chosen)?.number ?? null;
      if (old.order?.every(([column]) => column < columns.length)) table.order(old.order);
      fields();
    }
    refresh();
    if (runs.length) choose(state.chosen ?? (runs.find((run) => run.history) ?? runs[0]).number);
    for (const [id, event, name] of [["filter", "input", "text"], ["status", "change", "status"], ["method", "change", "method"]]) {
      $(id)?.addEventListener(event, () => {
        state[name] = $(id).value;
        refresh();
      });
    }
    frame.addEventListener("click", (event) => {
      const row = event.target.closest("tbody tr[data-run]");
      if (row) choose(Number(row.dataset.run));
    });
    table.on("page", () => { frame.scrollTop = 0; });
    $("cell").addEventListener("click", () => {
      state.cell = null;
      refresh();
    });
    if (old) {
      history.scrollRestoration = "manual";
      window.scrollTo(0, old.scroll || 0);
      frame.scrollTop = old.inner || 0;
      if (old.focus) $("filter").focus({ preventScroll: true });
    }
    window.addEventListener("pagehide", save);
  }

  return { start, chooseCell, save, state };
})();
