"""The page in a headless Chromium: it renders, asks nobody for anything, and answers to mouse and keyboard."""

from __future__ import annotations

import csv
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from interplay.lab.report import report
from interplay.record import RunRecord
from interplay.store.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    """A browser that no longer answers fails the test: not all calls of playwright have a limit of their own."""

    def late(*_: object) -> None:
        raise TimeoutError("the browser has not answered in ten minutes")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Tab:
    """One tab with the page; ``trouble`` collects what must not happen: errors and requests."""

    def __init__(
        self,
        browser: Any,
        path: Path,
        width: int = 1280,
        height: int = 900,
        *,
        scheme: str = "light",
        live: bool = False,
    ) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.trouble: list[str] = []
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("console", self._console)
        own = path.resolve().as_uri()
        self.loads: list[str] = []

        def route(request: Any) -> None:
            url = request.request.url
            if url == own or (live and url.split("?")[0] in (f"{own}.live.js", f"{own}.next.js")):
                self.loads.append(url)
                request.continue_()
            else:
                self.trouble.append(f"request: {request.request.url}")
                request.abort()

        self.page.route("**/*", route)
        self.page.goto(own)
        self.page.wait_for_selector("#runs tbody tr, #all-runs .empty")

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(f"console {message.type}: {message.text}")

    def column(self, label: str) -> list[str]:
        """The cells of a column of the table of runs, as they stand."""
        return list(
            self.page.evaluate(
                """label => {
                    const heads = [...document.querySelectorAll("#runs thead th")];
                    const index = heads.findIndex(h => h.textContent.trim() === label);
                    const rows = [...document.querySelectorAll("#runs tbody tr[data-run]")];
                    return rows.map(r => r.cells[index].textContent);
                }""",
                label,
            )
        )

    def close(self) -> None:
        """Leave the page first: closing a tab whose page is loading itself again was seen to wait without an end."""
        self.page.goto("about:blank")
        self.page.unroute_all(behavior="ignoreErrors")
        self.page.close()

    def head(self, label: str) -> Any:
        return self.page.locator("#runs thead th", has_text=label).first.locator("[role=button]")

    def sorted(self, label: str, direction: str) -> None:
        """Wait until the table is sorted by a column."""
        self.page.locator(f"#runs thead th[aria-sort={direction}]", has_text=label).wait_for(timeout=20_000)


@pytest.fixture
def tab(browser: Any, page: Path) -> Iterator[Tab]:
    found = Tab(browser, page)
    yield found
    assert found.trouble == []
    found.close()


def hover(tab: Tab, column: int, row: int, columns: int = 4, rows: int = 5) -> str:
    """Move to the centre of a cell of the heatmap; returns what plotly shows."""
    tab.page.locator("#chart-heatmap").scroll_into_view_if_needed()
    box = tab.page.locator("#chart-heatmap .nsewdrag").first.bounding_box()
    x = box["x"] + box["width"] * (column + 0.5) / columns
    y = box["y"] + box["height"] * (1 - (row + 0.5) / rows)
    tab.page.mouse.move(x - 3, y - 3)
    tab.page.mouse.move(x, y, steps=3)
    tab.page.wait_for_selector("#chart-heatmap .hoverlayer .hovertext")
    return str(tab.page.locator("#chart-heatmap .hoverlayer").text_content())


def test_every_figure_is_drawn(tab: Tab, evil: str) -> None:
    for name in ("ordering", "heatmap", "scaling", "scaling-curves"):
        assert tab.page.locator(f"#chart-{name} .main-svg").count() >= 1
    assert tab.page.locator("#chart-heatmap .heatmaplayer image").count() == 1
    assert evil in str(tab.page.locator("#missing").text_content())  # as words
    assert tab.page.evaluate("window.pwned") is None


def test_no_button_hands_a_figure_to_a_server(tab: Tab) -> None:
    titles = tab.page.eval_on_selector_all(".modebar-btn", "buttons => buttons.map(b => b.dataset.title)")
    assert "Download plot as a PNG" in titles
    assert not [title for title in titles if any(word in title for word in ("Share", "Cloud", "Studio", "Produced"))]


def test_a_cell_of_the_heatmap_tells_its_numbers(tab: Tab) -> None:
    words = hover(tab, 2, 2)
    assert "η = 0.1, λ = 0.001" in words
    assert "ηλ = 0.0001" in words
    assert "mean 78.0" in words
    assert "3 runs" in words
    assert "diverged" in hover(tab, 3, 4)
    assert "not run" in hover(tab, 0, 0)


def test_a_column_is_sorted_by_its_numbers_and_what_is_missing_comes_last(tab: Tab) -> None:
    tab.page.select_option(".dt-length select", "200")
    tab.head("lr η").click()
    tab.sorted("lr η", "ascending")
    rates = [float(text) for text in tab.column("lr η")]
    assert rates == sorted(rates)
    assert len(set(rates)) >= 5
    tab.head("test acc %").focus()
    for direction, reverse in (("ascending", False), ("descending", True)):
        tab.page.keyboard.press("Enter")
        tab.sorted("test acc %", direction)
        cells = tab.column("test acc %")
        there = [text for text in cells if text]
        assert cells == there + [""] * (len(cells) - len(there))
        assert 0 < len(there) < len(cells)
        numbers = [float(text) for text in there]
        assert numbers == sorted(numbers, reverse=reverse)


def test_rows_are_filtered_by_text_and_by_choice(tab: Tab) -> None:
    everything = int(str(tab.page.locator(".dt-info").text_content()).rpartition(" ")[2])
    assert everything > len(tab.column("run"))  # of more than a page
    tab.page.select_option("#method", "SGD+WD")
    assert set(tab.column("method")) == {"SGD+WD"}
    tab.page.fill("#filter", "0.05")
    rows = tab.column("lr η")
    assert 0 < len(rows) < everything
    assert f"{len(rows)} of {everything} runs" in str(tab.page.locator("#count").text_content())
    tab.page.fill("#filter", "")
    tab.page.select_option("#method", "")
    tab.page.select_option("#status", "diverged")
    assert tab.column("test acc %") == ["", "", ""]


def test_a_column_is_compared_where_the_filter_says_so(tab: Tab) -> None:
    tab.page.fill("#filter", "lr=0.1")
    assert set(tab.column("lr η")) == {"0.1"}
    tab.page.fill("#filter", "decay>=1e-3 batch=128 sgdm")
    assert {float(text) for text in tab.column("decay λ")} == {0.001, 0.005, 0.01}
    assert set(tab.column("batch B")) == {"128"}
    tab.page.fill("#filter", "acc>77 acc<77.5")
    assert all(77 < float(text) < 77.5 for text in tab.column("test acc %"))
    assert tab.column("test acc %")
    tab.page.fill("#filter", "lr=0.77")
    assert tab.column("run") == []
    assert "No run is like that." in str(tab.page.text_content("#runs"))


def test_columns_can_be_hidden_and_the_rest_saved_as_a_table(tab: Tab, tmp_path: Path) -> None:
    tab.page.fill("#filter", "sgd+wd lr=0.1")
    tab.page.click("text=Columns")
    tab.page.click("div.dt-button-collection >> text=seed")
    tab.page.keyboard.press("Escape")
    heads = tab.page.eval_on_selector_all("#runs thead th", "heads => heads.map(h => h.textContent.trim())")
    assert "seed" not in heads
    with tab.page.expect_download() as found:
        tab.page.click("text=CSV")
    found.value.save_as(tmp_path / "runs.csv")
    with (tmp_path / "runs.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    assert rows[0] == heads
    assert len(rows) == 1 + len(tab.column("run")) > 1
    assert {row[heads.index("lr η")] for row in rows[1:]} == {"0.1"}


def test_the_best_run_is_chosen_and_figures_can_be_saved(tab: Tab, tmp_path: Path) -> None:
    assert tab.page.locator("#chosen h3").text_content() == f"Run {tab.column('run')[0]}"
    reached = [float(text) for text in tab.column("test acc %") if text]
    assert reached[0] == max(reached)
    for format in ("svg", "png"):
        with tab.page.expect_download() as found:
            tab.page.click(f".downloads[data-chart=heatmap] button >> text={format.upper()}")
        found.value.save_as(tmp_path / "figure")
        assert (b"<svg" if format == "svg" else b"PNG") in (tmp_path / "figure").read_bytes()[:200]


def test_every_row_is_reached_by_the_keyboard(tab: Tab) -> None:
    tab.page.locator("#runs tbody button").nth(3).focus()
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("#chosen h3").text_content() == f"Run {tab.column('run')[3]}"
    assert tab.page.locator("#runs tbody button[aria-pressed=true]").count() == 1
    nameless = tab.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=img], [role=region]")].filter(e =>
            e.offsetParent && !(e.textContent.trim() || e.getAttribute("aria-label")
            || e.getAttribute("aria-labelledby") || e.closest("label"))).map(e => e.outerHTML)"""
    )
    assert nameless == []


def test_a_chosen_run_shows_its_curves_and_its_specification(tab: Tab) -> None:
    tab.page.locator("#runs tbody tr").nth(5).click()
    name = tab.column("run")[5]
    assert tab.page.locator("#chosen h3").text_content() == f"Run {name}"
    for ending in ("loss", "acc"):
        drawn = tab.page.evaluate(f"document.getElementById('curve-{ending}').data.map(t => [t.name, t.x.length])")
        assert drawn == [["training", 3], ["test", 3]]
        assert tab.page.locator(f"#curve-{ending} .scatterlayer .trace").count() == 2
    words = str(tab.page.locator("#chosen").text_content())
    for expected in ("weight decay", "sum of rates", "a processor", "digits"):
        assert expected in words
    # A hostile message is shown as it was written.
    tab.page.select_option("#status", "failed")
    tab.page.locator("#runs td button").first.click()
    assert "</script><script>" in str(tab.page.locator("#chosen .note").text_content())
    assert tab.page.evaluate("window.pwned") is None


def test_a_click_on_a_cell_leads_to_its_runs(tab: Tab) -> None:
    hover(tab, 1, 3)
    tab.page.mouse.down()
    tab.page.mouse.up()
    tab.page.wait_for_selector("#cell:not([hidden])")
    assert tab.column("lr η") == ["0.05"] * 3
    assert tab.column("decay λ") == ["0.005"] * 3
    assert tab.page.locator("#runs tr.chosen").count() == 1
    tab.page.locator("#cell").click()
    assert len(tab.column("run")) > 3


def test_a_cell_of_the_heatmap_is_reached_by_the_keyboard(tab: Tab) -> None:
    tab.page.locator("figure .as-table summary").focus()
    tab.page.keyboard.press("Enter")
    cells = tab.page.locator(".as-table td button")
    assert cells.count() >= 12
    button = tab.page.locator(".as-table td button[aria-label*='0.05'][aria-label*='0.005']").first
    button.focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#cell:not([hidden])")
    assert tab.column("lr η") == ["0.05"] * 3
    assert tab.column("decay λ") == ["0.005"] * 3


def until(tab: Tab, expression: str) -> None:
    """Wait for an expression to be true. The page forbids strings as code, so it is asked again and again."""
    for _ in range(200):
        if tab.page.evaluate(expression):
            return
        tab.page.wait_for_timeout(100)
    raise AssertionError(expression)


OVERLAY = "document.getElementById('overlay').data.filter(t => t.name).map(t => t.name)"


def test_curves_and_knobs_of_settings_follow_the_filter(tab: Tab) -> None:
    tab.page.wait_for_selector("#overlay .scatterlayer .trace")
    names = tab.page.evaluate(OVERLAY)
    assert 2 <= len(names) <= 6
    bands = tab.page.evaluate("document.getElementById('overlay').data.filter(t => t.fill === 'toself').length")
    assert bands == len(names)  # three seeds of each
    lines = "document.getElementById('parallel').data.reduce((n, t) => n + t.x.filter(x => x === 0).length, 0)"
    whole = tab.page.evaluate(lines)
    tab.page.fill("#filter", "lr=0.05 finished")
    until(tab, f"{OVERLAY}.every(name => name.includes('η 0.05'))")
    until(tab, f"({lines}) < {whole}")
    settings = {
        (lr, decay, batch, momentum)
        for lr, decay, batch, momentum in zip(
            tab.column("lr η"), tab.column("decay λ"), tab.column("batch B"), tab.column("mom. μ"), strict=True
        )
    }
    assert tab.page.evaluate(lines) == len(settings)
    tab.page.select_option("#series", "train_loss")
    until(tab, "document.getElementById('overlay').layout.yaxis.title.text.includes('training loss')")


LUMINANCE = """text => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_figures_stand_out_in_both_schemes(browser: Any, page: Path, scheme: str) -> None:
    tab = Tab(browser, page, scheme=scheme)

    def luminance(selector: str, name: str) -> float:
        colour = tab.page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{name}")
        return float(tab.page.evaluate(LUMINANCE, colour))

    card = luminance("#answer", "backgroundColor")
    assert (card < 0.1) == (scheme == "dark")

    def contrast(one: float, other: float) -> float:
        return (max(one, other) + 0.05) / (min(one, other) + 0.05)

    for selector in ("#answer h2", ".sure", "figcaption", "#runs th"):
        assert contrast(luminance(selector, "color"), card) >= 4.5, selector
    assert contrast(luminance(".badge", "color"), luminance(".badge", "backgroundColor")) >= 4.5
    drawn = "document.getElementById('chart-ordering').data.map(t => t.line && t.line.color).filter(Boolean)"
    for line in {each for each in tab.page.evaluate(drawn) if each.startswith("#")}:
        rgb = tuple(int(line[i : i + 2], 16) for i in (1, 3, 5))
        assert contrast(float(tab.page.evaluate(LUMINANCE, f"rgb{rgb}")), card) >= 3, line
    assert tab.trouble == []
    tab.close()


def test_it_prints_whole_figures_and_rows_without_what_is_for_the_mouse(browser: Any, page: Path) -> None:
    tab = Tab(browser, page)
    tab.page.emulate_media(media="print")
    for selector in ("nav", ".filters", ".downloads"):
        assert tab.page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).display") == "none"
    for selector in ("figure", "#runs tbody tr"):
        assert tab.page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).breakInside") == "avoid"
    printed = tab.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") >= 3
    assert tab.trouble == []
    tab.close()


def test_it_fits_a_telephone(browser: Any, page: Path) -> None:
    tab = Tab(browser, page, 390, 844)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("ordering", "heatmap", "scaling", "scaling-curves"):
        assert tab.page.locator(f"#chart-{name} .main-svg").first.bounding_box()["width"] <= 390
    tab.page.locator("#runs tbody tr").first.click()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.trouble == []
    tab.close()


def test_a_watched_page_takes_the_newer_one_and_keeps_what_was_chosen(
    browser: Any, tmp_path: Path, fill: Callable[..., Store], programme: Callable[[int], list[RunRecord]]
) -> None:
    from interplay.lab.report import _Source, _write

    store, target = fill(tmp_path, seeds=1), tmp_path / "report.html"
    _write(_Source([tmp_path], "final_test_acc").page(0.5), target, live=True)
    tab = Tab(browser, target, live=True)
    tab.page.select_option("#status", "finished")
    tab.page.fill("#filter", "sgdm+wd")
    tab.head("test acc %").click()
    tab.sorted("test acc %", "ascending")
    tab.page.locator("#runs tbody tr").nth(3).click()
    tab.page.evaluate("window.scrollTo(0, 700)")
    name, before = tab.column("run")[3], len(tab.column("run"))
    # As long as nothing ends it reads the script of one line again and again, and never the page.
    tab.page.wait_for_timeout(2500)
    assert sum(not url.endswith(".html") for url in tab.loads) >= 2
    assert sum(url.endswith(".html") for url in tab.loads) == 1
    assert (tmp_path / "report.html.live.js").stat().st_size < 100
    assert store.commit(next(r for r in programme(1) if r.spec.momentum)) is not None
    _write(_Source([tmp_path], "final_test_acc").page(None), target, live=True)
    tab.page.wait_for_selector(f"#runs tbody tr:nth-child({before + 1})", state="attached")
    assert tab.page.input_value("#filter") == "sgdm+wd"
    assert tab.page.input_value("#status") == "finished"
    assert tab.page.locator("#runs thead th", has_text="test acc %").get_attribute("aria-sort") == "ascending"
    assert tab.page.locator("#chosen h3").text_content() == f"Run {name}"
    assert tab.page.evaluate("window.scrollY") == 700
    # The libraries are not read again; the figures are drawn with those that were there.
    assert sum(url.endswith(".html") for url in tab.loads) == 1
    assert target.stat().st_size - (tmp_path / "report.html.next.js").stat().st_size > 1_300_000
    assert tab.page.locator(".js-plotly-plot").count() >= 3
    tab.page.emulate_media(color_scheme="dark")  # what listened for the old page is gone
    assert tab.trouble == []
    tab.close()


def test_a_page_that_may_read_nothing_beside_it_loads_itself_whole(
    browser: Any, tmp_path: Path, fill: Callable[..., Store]
) -> None:
    from interplay.lab.report import _Source, _write

    fill(tmp_path, seeds=1)
    target = tmp_path / "report.html"
    _write(_Source([tmp_path], "final_test_acc").page(0.2), target)
    tab = Tab(browser, target, live=True)
    tab.page.wait_for_timeout(1500)
    assert sum(url.endswith(".html") for url in tab.loads) >= 2
    tab.close()


def sorted_and_filtered(browser: Any, folder: Path, rows: int) -> tuple[Tab, float]:
    """A page of so many runs, sorted up and down and filtered, and the milliseconds that took."""
    lines = ["method,batch_size,lr,wd,momentum,final_test_acc,final_train_loss,best_test_acc"]
    lines += [f"SGDM+WD,128,0.1,{n}e-6,0.9,{50 + n % 40},0.1,{50 + n % 40}" for n in range(1, rows + 1)]
    (folder / "many.csv").write_text("\n".join(lines) + "\n")
    tab = Tab(browser, report([folder / "many.csv"], folder / "page.html", figures=False).page)
    assert len(tab.column("run")) == 50
    assert tab.page.locator(".dt-info").text_content() == f"1 to 50 of {rows:,}"
    started = tab.page.evaluate("performance.now()")
    tab.head("decay λ").click()
    tab.sorted("decay λ", "ascending")
    tab.head("decay λ").click()
    tab.sorted("decay λ", "descending")
    assert tab.column("decay λ")[0] == f"{rows * 1e-6:g}"
    tab.page.fill("#filter", "many.csv:499")
    tab.page.wait_for_function("document.querySelectorAll('#runs tbody tr').length < 50")
    return tab, tab.page.evaluate("performance.now()") - started


def test_thousands_of_runs_are_shown_a_page_at_a_time(browser: Any, tmp_path: Path) -> None:
    few, base = sorted_and_filtered(browser, tmp_path, 2_000)
    few.close()
    tab, whole = sorted_and_filtered(browser, tmp_path, 20_000)
    assert len(tab.column("run")) == 11  # 499, 4990 to 4999
    assert whole < 30 * base  # ten times the rows: sorting alone takes some 13 times as long
    tab.page.fill("#filter", "")
    tab.page.locator(".dt-paging-button.next").click()
    assert tab.page.locator(".dt-info").text_content() == "51 to 100 of 20,000"
    assert tab.trouble == []
    tab.close()


def test_a_page_without_runs_is_quiet_too(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    tab = Tab(browser, report([tmp_path / "outputs"]).page)
    assert "There are no runs yet." in str(tab.page.text_content("main"))
    assert tab.trouble == []
    tab.close()
