/* The figures: drawn by plotly in the colours of the theme, each to be had as SVG and PNG. */
lab.figures = (() => {
  const { data, $, narrow, make } = lab;
  // Later versions of plotly have a button that hands the figure to a server: nothing leaves this machine.
  const config = {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "sendChartToCloud"],
  };

  /** Values such as "var(--ink)" become the colours that they have now. */
  function themed(value, style) {
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((each) => themed(each, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, themed(each, style)]));
    }
    if (typeof value !== "string") return value;
    const name = /^var\((--[a-z0-9-]+)\)$/.exec(value);
    return name ? style.getPropertyValue(name[1]).trim() : value;
  }

  /** The height of a figure is the style sheet's; a narrow screen has no room for a colour bar or large letters. */
  function draw(place, traces, layout) {
    const style = getComputedStyle(document.documentElement);
    const small = narrow.matches;
    const modebar = { bgcolor: "rgba(0,0,0,0)", color: "var(--soft)", activecolor: "var(--ink)" };
    const drawn = traces.map((trace) => (trace.showscale === undefined ? trace : { ...trace, showscale: trace.showscale && !small }));
    const whole = { ...layout, modebar, font: { ...layout.font, size: small ? 11 : 13 }, dragmode: small ? false : "zoom" };
    return Plotly.react(place, themed(drawn, style), themed(whole, style), config);
  }

  const places = new Map();

  /** Draw into the element of this id now, and again whenever the colours or the width change. */
  function show(id, traces, layout) {
    const place = $(id);
    if (!place) return null;
    places.set(id, [traces, layout]);
    draw(place, traces, layout);
    return place;
  }

  function again() {
    for (const [id, [traces, layout]] of places) {
      if ($(id)) draw($(id), traces, layout);
      else places.delete(id);
    }
  }

  function downloads(id) {
    const place = document.querySelector(`.downloads[data-chart="${id}"]`);
    const title = $("title-" + id)?.textContent || id;
    place?.replaceChildren(...["svg", "png"].map((format) => {
      const button = make("button", { type: "button", "aria-label": `Download ${title} as ${format.toUpperCase()}` }, format.toUpperCase());
      const size = { width: 1000, height: 620 };
      button.addEventListener("click", () => Plotly.downloadImage($("chart-" + id), { format, filename: id, scale: format === "png" ? 3 : 1, ...size }));
      return button;
    }));
  }

  /** The cells of the heatmap as buttons in a table, for the keyboard and for who does not see colours. */
  function asTable(chart) {
    const place = $("chart-heatmap");
    if (!place || !chart) return;
    const { x, y, z, customdata, hovertext } = chart.data[0];
    const head = make("tr", {}, make("th", { scope: "col" }, "λ \\ η"), ...x.map((word) => make("th", { scope: "col" }, word)));
    const rows = y.map((word, i) => make("tr", {}, make("th", { scope: "row" }, word), ...x.map((_, j) => {
      const cell = customdata[i][j];
      const text = z[i][j] === null ? (cell === null ? "not run" : "diverged") : lab.shown(z[i][j]);
      if (cell === null) return make("td", { class: "none" }, text);
      const label = hovertext[i][j].replace(/<[^>]*>/g, " ");
      const button = make("button", { type: "button", "aria-label": `Runs of ${label}` }, text);
      button.addEventListener("click", () => lab.table?.chooseCell(cell));
      return make("td", {}, button);
    })));
    const table = make("table", { class: "grid" }, make("thead", {}, head), make("tbody", {}, ...rows.reverse()));
    const frame = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The heatmap as a table" }, table);
    place.closest("figure").append(make("details", { class: "as-table" }, make("summary", {}, "The same as a table"), frame));
  }

  function all() {
    asTable(data.charts.heatmap);
    for (const [id, chart] of Object.entries(data.charts)) {
      const place = show("chart-" + id, chart.data, chart.layout);
      downloads(id);
      place?.on("plotly_click", (event) => {
        const cell = event.points.map((point) => point.customdata).find((found) => typeof found === "number");
        if (cell !== undefined) lab.table?.chooseCell(cell);
      });
    }
  }

  for (const query of [narrow, window.matchMedia("(prefers-color-scheme: dark)")]) {
    query.addEventListener("change", again, { signal: lab.ending.signal });
  }
  return { all, show, again };
})();
