/* The settings of the rows that the table shows: their curves over epochs, and their knobs beside each other. */
lab.explore = (() => {
  const { data, $, runs, columns, make, shown, lower } = lab;
  if (!$("explore")) return null;
  const CURVES = 6;
  const LINES = 400;
  const KNOBS = ["method", "lr", "weight_decay", "momentum", "batch_size", "epochs", "schedule", "model", "dataset"];
  const TITLES = { train_loss: "training loss (nats)", test_loss: "test loss (nats)", val_loss: "validation loss (nats)", train_acc: "training accuracy (%)", test_acc: "test accuracy (%)", val_acc: "validation accuracy (%)" };
  const metric = columns.find((column) => column.name === data.metric);
  const knobs = KNOBS.map((name) => columns.find((column) => column.name === name)).filter(Boolean)
    .filter((column) => new Set(runs.map((run) => column.of(run)).filter((value) => value !== null && value !== undefined)).size > 1);
  const escaped = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  let rows = runs;

  /** Rows of one setting together, the best setting first; a run that is of no cell is a setting by itself. */
  function settings(of) {
    const groups = new Map();
    for (const run of of) {
      const key = run.cell ?? `run ${run.number}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(run);
    }
    const all = [...groups.values()].map((members) => {
      const values = members.map((run) => metric?.of(run)).filter((value) => typeof value === "number");
      return { members, level: values.length ? mean(values) : null };
    });
    return all.sort((a, b) => (a.level === null) - (b.level === null) || (lower ? a.level - b.level : b.level - a.level));
  }

  const words = (run) => knobs.filter((knob) => knob.name !== "method").map((knob) => `${knob.label.split(" ").pop()} ${shown(knob.of(run))}`).join(", ");

  /** Mean over seeds at each epoch that all of them have, and the least and greatest value there. */
  function overlay(groups, name) {
    const index = 1 + data.history_names.indexOf(name);
    const traces = [];
    const there = groups.filter(({ members }) => members.some((run) => run.history?.[index]?.some((value) => value !== null)));
    there.slice(0, CURVES).forEach(({ members }, number) => {
      const seeds = members.map((run) => run.history).filter((history) => history?.[index]);
      const at = seeds.map((history) => new Map(history[0].map((epoch, i) => [epoch, history[index][i]])));
      const epochs = [...at[0].keys()].filter((epoch) => at.every((curve) => typeof curve.get(epoch) === "number"));
      if (!epochs.length) return;
      const values = epochs.map((epoch) => at.map((curve) => curve.get(epoch)));
      const colour = `var(--c${1 + (number % 6)})`;
      const label = escaped(words(members[0]) || members[0].id);
      const hover = values.map((each, i) => `<b>${label}</b><br>epoch ${epochs[i]}: ${shown(mean(each))}` + (each.length > 1 ? `<br>${each.length} seeds, ${shown(Math.min(...each))} to ${shown(Math.max(...each))}` : ""));
      if (seeds.length > 1) {
        traces.push({ type: "scatter", mode: "lines", x: [...epochs, ...[...epochs].reverse()], y: [...values.map((each) => Math.max(...each)), ...values.map((each) => Math.min(...each)).reverse()], fill: "toself", fillcolor: colour, opacity: 0.18, line: { width: 0 }, hoverinfo: "skip", showlegend: false });
      }
      traces.push({ type: "scatter", mode: "lines", name: label, x: epochs, y: values.map(mean), line: { color: colour, width: 2, dash: number < 6 ? "solid" : "dot" }, hovertext: hover, hoverinfo: "text" });
    });
    const layout = lab.layout("epoch", TITLES[name]);
    layout.legend = { orientation: "h", x: 0, y: -0.2, yanchor: "top", font: { size: 11 } };
    lab.figures.show("overlay", traces, layout);
  }

  /** Where a value stands on its axis, from 0 to 1: numbers by their logarithm, all else by its rank. */
  function scale(knob) {
    const values = [...new Set(runs.map((run) => knob.of(run)).filter((value) => value !== null && value !== undefined))];
    const numbers = values.every((value) => typeof value === "number" && value >= 0) && knob.name !== "momentum";
    values.sort(numbers || values.every((value) => typeof value === "number") ? (a, b) => a - b : undefined);
    const positive = values.filter((value) => value > 0);
    if (!numbers || positive.length < 2) {
      const ranks = new Map(values.map((value, rank) => [value, values.length > 1 ? rank / (values.length - 1) : 0.5]));
      return { values, place: (value) => ranks.get(value) };
    }
    // A knob at 0 stands below the least value that is not.
    const [low, high] = [Math.log(positive[0]), Math.log(positive.at(-1))];
    const floor = values[0] === 0 ? 0.15 : 0;
    return { values, place: (value) => (value === 0 ? 0 : floor + (1 - floor) * (Math.log(value) - low) / (high - low)) };
  }
  const scales = knobs.map(scale);

  function parallel(groups) {
    const known = groups.filter(({ level }) => level !== null).slice(0, LINES);
    const levels = known.map(({ level }) => level);
    const sorted = [...levels].sort((a, b) => (lower ? a - b : b - a));
    // Five colours by rank: the best tenth, the next fifth, the upper half, the lower half, and the worst fifth.
    const parts = [[0.1, "var(--p1)", "best tenth"], [0.3, "var(--p2)", "to 30 %"], [0.5, "var(--p3)", "to half"], [0.8, "var(--p4)", "to 80 %"], [1, "var(--p5)", "worst fifth"]];
    const part = (level) => parts.findIndex(([end]) => sorted.indexOf(level) < Math.max(1, end * sorted.length));
    const traces = parts.map(([, colour, name], number) => ({ type: "scatter", mode: "lines+markers", name, x: [], y: [], hovertext: [], hoverinfo: "text", line: { color: colour, width: number === 0 ? 2.5 : 1.2 }, marker: { size: number === 0 ? 6 : 4, color: colour }, customdata: [], connectgaps: false }));
    for (const { members, level } of known) {
      const trace = traces[part(level)];
      const hover = `<b>${escaped(words(members[0]))}</b><br>${metric.label} ${shown(level)}, ${members.length} run${members.length > 1 ? "s" : ""}`;
      knobs.forEach((knob, axis) => {
        const place = scales[axis].place(knob.of(members[0]));
        trace.x.push(axis);
        trace.y.push(place ?? null);
        trace.hovertext.push(hover);
        trace.customdata.push(members[0].cell);
      });
      trace.x.push(null); trace.y.push(null); trace.hovertext.push(null); trace.customdata.push(null);
    }
    const layout = lab.layout("", "");
    Object.assign(layout.xaxis, { tickvals: knobs.map((_, axis) => axis), ticktext: knobs.map((knob) => knob.label), range: [-0.3, knobs.length - 0.6], side: "top", showgrid: true, gridcolor: "var(--soft)", fixedrange: true });
    Object.assign(layout.yaxis, { visible: false, range: [-0.08, 1.08], fixedrange: true });
    layout.legend = { orientation: "h", x: 0, y: -0.02, yanchor: "top", font: { size: 11 } };
    layout.margin = { l: 8, r: 8, t: 30, b: 8 };
    layout.annotations = scales.flatMap(({ values, place }, axis) => {
      const told = values.length <= 7 ? values : [values[0], values[Math.floor(values.length / 2)], values.at(-1)];
      return told.map((value) => ({ x: axis, y: place(value), text: escaped(shown(value)), showarrow: false, xanchor: "left", xshift: 5, font: { size: 11, color: "var(--ink)" }, bgcolor: "var(--card)", borderpad: 1, opacity: 0.85 }));
    });
    const place = lab.figures.show("parallel", traces.filter((trace) => trace.x.length).reverse(), layout);
    if (place && !place.dataset.listens) {
      place.dataset.listens = "yes";
      place.on("plotly_click", (event) => {
        const cell = event.points.map((point) => point.customdata).find((found) => typeof found === "number");
        if (cell !== undefined) lab.table.chooseCell(cell);
      });
    }
  }

  function draw() {
    const groups = settings(rows);
    if ($("overlay")) overlay(groups, $("series").value);
    if ($("parallel")) parallel(groups);
  }

  const series = data.history_names.filter((name) => TITLES[name]);
  const first = (lower ? ["test_loss", "train_loss"] : ["test_acc", "val_acc", "train_loss"]).find((name) => series.includes(name));
  $("series").replaceChildren(...series.map((name) => make("option", { value: name, ...(name === first ? { selected: "" } : {}) }, TITLES[name])));
  $("series").addEventListener("change", draw);
  if (!series.length) { $("overlay").remove(); $("series").closest("label").remove(); }
  if (knobs.length < 2 || !metric) $("parallel").remove();
  if (!$("overlay") && !$("parallel")) $("explore").remove();

  let waiting = null;
  /** The rows that the table shows now; drawn once typing rests. */
  function update(found) {
    rows = found;
    clearTimeout(waiting);
    waiting = setTimeout(draw, 150);
  }
  return { update };
})();
