"""The page, once or again and again while runs end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from interplay.analysis import phrases
from interplay.analysis.best import best_settings
from interplay.analysis.collapse import collapse_picture
from interplay.analysis.compare import Comparison, compare
from interplay.analysis.conclude import OTHER_METRIC, Analysis, beside_other_metric, conclude, tabulate
from interplay.analysis.importance import importance
from interplay.analysis.layout import Layout
from interplay.analysis.pictures import heatmap_picture, ordering_picture, scaling_picture
from interplay.analysis.predict import Prediction, PredictionError, checked
from interplay.analysis.table import Table
from interplay.errors import InputError, SpecError
from interplay.frames import Framed
from interplay.lab.gathering import gather, stamp
from interplay.lab.read import Tables, claims_of_all, named
from interplay.lab.read import observations as observed
from interplay.notes import notice
from interplay.page import sections
from interplay.page.content import Page, Side
from interplay.page.page import following, render
from interplay.page.page import live as newest
from interplay.printing import Print
from interplay.store.files import write_whole
from interplay.store.manifest import studies as manifest_studies
from interplay.study.claims import Claim

QUESTION = "What do these runs say about learning rate, weight decay and batch size?"

SIDES = 4
"""Studies that stand beside each other on a page."""

NAMED = 4
"""Studies that the title names; of more, the rest is counted."""


@dataclasses.dataclass(frozen=True)
class Written(Framed):
    """The files that `report` wrote."""

    page: Path
    figures: tuple[Path, ...]
    """The documented figures and the further ones, of those whose runs are there."""
    title: str = ""
    """What the page is about, and its question."""
    answers: tuple[tuple[str, str, str], ...] = ()
    """The verdict, the question and the measured number of each claim that was asked."""
    best: tuple[str, ...] = ()
    """The best setting of each network, and what it reaches."""

    def heading(self) -> str:
        """See `Framed`."""
        return f"{self.page} ({self.page.stat().st_size / 1e6:.1f} MB)"

    def lines(self) -> list[str]:
        """The answers in words, the best setting, and where the files are, for a terminal."""
        layout = Layout()
        lines = layout.paragraph(self.title)
        if self.answers:
            heads = ("verdict", "question", "measured, 90 % interval")
            lines += ["", *layout.table(heads, self.answers, prose=1), ""]
        lines += [line for words in self.best for line in layout.paragraph(f"best     {words}")]
        # Paths are whole, however narrow the terminal is: somebody may copy them.
        lines.append(f"page     {self.heading()}")
        if self.figures:
            lines.append(f"figures  {self.figures[0].parent} ({phrases.count(len(self.figures), 'file')})")
        return lines

    def rows(self) -> list[dict[str, Any]]:
        """The page and each figure, with its size in bytes."""
        named = [("page", self.page), *(("figure", figure) for figure in self.figures)]
        return [{"kind": kind, "path": str(path), "bytes": path.stat().st_size} for kind, path in named]


def report(
    inputs: Sequence[str | Path],
    output: Path | None = None,
    metric: str = "final_test_acc",
    *,
    claims: Sequence[str | Claim] = (),
    figures: bool = True,
    watch: bool = False,
    interval: float = 10.0,
    wanted: Print | None = None,
) -> Written:
    """Write one HTML page about ``inputs`` that opens without a network, and the documented figures.

    Args:
        inputs: output folders and CSV files, analysed together as repeated batches.
        output: the file; by default ``report.html`` in the first output folder, or here if there is none.
        metric: column to analyse.
        claims: those that come first, with what the studies in the folders state.
        figures: also draw the PNG files, into ``plots`` of the first output folder (of ``outputs`` if there is none).
        watch: stay, and write the page again whenever a run has ended or moved, until Ctrl-C. The page loads itself
            again meanwhile, and the figures are drawn at the end.
        interval: seconds between two looks.
        wanted: what the figures are for: the files of each, their width and type.

    Raises:
        InputError: an input cannot be understood; names file and line.
        SpecError: an interval that is not positive, or longer than a day; a claim that is not known.
    """
    if not 0 < interval <= 86_400:
        raise SpecError(f"interval must be greater than 0 and at most a day, not {interval:g}")
    folder = next((Path(each) for each in inputs if Path(each).is_dir()), None)
    target = Path(output) if output is not None else (folder or Path()) / "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    source = _Source(inputs, metric, claims)
    if watch:
        try:
            _watch(source, target, interval)
        except KeyboardInterrupt:
            notice(f"stopped; {target} stays as it is now")
    page = source.page(None)
    _write(page, target, live=watch)
    drawn = source.draw((folder or Path("outputs")) / "plots", wanted) if figures else ()
    return Written(target, drawn, f"{page.title}: {page.question}", *_answers(page))


class _Source:
    """Pages of the same inputs, one after another; what has not changed is not analysed again."""

    def __init__(self, inputs: Sequence[str | Path], metric: str, claims: Sequence[str | Claim] = ()) -> None:
        self.inputs, self.metric, self.claims = inputs, metric, tuple(claims)
        self._results: object = None
        self._last: Page | None = None
        self._table: Table | None = None

    def page(self, refresh: float | None) -> Page:
        """The page as things stand; ``refresh`` in seconds."""
        results, _ = stamp(self.inputs)
        tables = Tables()
        observations, runs = gather(self.inputs, self.metric, tables)
        # To the second, in local time with its offset from UTC.
        created = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        if self._last is not None and results == self._results:
            self._last = dataclasses.replace(self._last, runs=tuple(runs), created=created, refresh=refresh)
            return self._last
        title, question = _titled(self.inputs)
        metric = observations[0].metric if observations else self.metric
        self._last = Page(title, question, created, metric, None, None, None, None, runs=tuple(runs), refresh=refresh)
        if observations:
            table, duplicates = tabulate(observations)
            self._table = table
            own = claims_of_all(self.claims, self.inputs)
            self._last = dataclasses.replace(
                self._last,
                analysis=self._judged_twice(conclude(table, duplicates, own), own, tables),
                ordering=ordering_picture(table),
                heatmap=heatmap_picture(table, surface=False),  # the page does not draw it
                scaling=scaling_picture(table),
                best=best_settings(table),
                collapse=collapse_picture(table),
                importance=importance(table),
                prediction=_checked(table),
                sides=self._sides(),
                comparison=self._comparison(),
            )
        self._results = results
        return self._last

    def _judged_twice(self, analysis: Analysis, own: Sequence[str | Claim], tables: Tables) -> Analysis:
        """By the other metric, too, where the inputs have it."""
        if self.metric not in OTHER_METRIC:
            return analysis
        try:
            return beside_other_metric(analysis, observed(self.inputs, OTHER_METRIC[self.metric], tables), own)
        except InputError:
            return analysis

    def _folders(self) -> list[tuple[str, Path]]:
        """Names and paths of the output folders, if there are several; tables are repetitions of each other."""
        found = [(name, path) for name, path in named(self.inputs) if path.is_dir()]
        titles = [_titled([path])[0] for _, path in found]
        if len(set(titles)) == len(titles):
            found = [(title, path) for title, (_, path) in zip(titles, found, strict=True)]
        return found if len(found) > 1 else []

    def _sides(self) -> tuple[Side, ...]:
        """Each study by itself."""
        sides = []
        for name, path in self._folders()[:SIDES]:
            if observations := gather([path], self.metric)[0]:
                table, duplicates = tabulate(observations)
                claims = conclude(table, duplicates, claims_of_all(self.claims, [path])).claims
                sides.append(Side(name, tuple(claims), best_settings(table, networks=1)))
        return tuple(sides) if len(sides) > 1 else ()

    def _comparison(self) -> Comparison | None:
        """Of two studies, the settings that both measured."""
        folders = self._folders()
        if len(folders) != 2:
            return None
        ours, theirs = (gather([path], self.metric)[0] for _, path in folders)
        if not ours or not theirs or ours[0].metric != theirs[0].metric:
            return None
        found = compare(ours, theirs)
        return found if found.pairs else None

    def draw(self, folder: Path, wanted: Print | None) -> tuple[Path, ...]:
        """The documented figures and the further ones; none as long as nothing has finished."""
        if self._last is None or self._table is None:
            return ()
        from interplay.lab import drawing  # matplotlib

        return drawing.beside_page(self._table, self.inputs, self._last.prediction, folder, wanted)


def _answers(page: Page) -> tuple[tuple[tuple[str, str, str], ...], tuple[str, ...]]:
    """The first lines of the page: an answer to each claim that was asked, and the best settings."""
    claims = [claim for claim in (page.analysis.claims if page.analysis else ()) if claim.verdict != "not asked"]
    answers = tuple((claim.verdict, claim.question or claim.id, phrases.brief(claim)) for claim in claims)
    told = (sections.best_words(each, page.metric, len(page.best) > 1) for each in page.best)
    best = (f"{words['reaches']} at {words['setting']} ({words['sure']})" for words in told)
    networks = (each.network.words() if len(page.best) > 1 else "" for each in page.best)
    return answers, tuple(": ".join(filter(None, pair)) for pair in zip(networks, best, strict=True))


def _titled(inputs: Sequence[str | Path]) -> tuple[str, str]:
    """Names and questions of the studies that wrote the folders; else the names of what was read."""
    found = [study for each in map(Path, inputs) if each.is_dir() for study in manifest_studies(each)]
    names = list(dict.fromkeys(name for name, _ in found)) or list(dict.fromkeys(map(_input_name, inputs)))
    questions = list(dict.fromkeys(question for _, question in found if question))
    shown = names if len(names) <= NAMED else [*names[:NAMED], f"{len(names) - NAMED} more"]
    return ", ".join(shown), " ".join(questions[:NAMED]) or QUESTION


def _input_name(path: str | Path) -> str:
    """``digits`` of ``results/digits/results.csv``: what tells it apart from others."""
    whole = Path(path).resolve()
    return whole.parent.name if whole.name == "results.csv" else whole.stem if whole.is_file() else whole.name


def _checked(table: Table) -> Prediction | None:
    try:
        return checked(table)
    except PredictionError:
        return None


def _watch(source: _Source, target: Path, interval: float) -> None:
    seen: object = None
    while True:
        if (now := stamp(source.inputs)) != seen:
            page = source.page(interval)
            _write(page, target, live=True)
            notice(f"{page.created}  {target}: {len(page.runs)} runs")
            seen = now
        time.sleep(interval)


def _write(page: Page, target: Path, *, live: bool = False) -> None:
    """The page; with ``live`` also the files beside it by which an open one learns of it, and which it reads then."""
    beside, after = (target.with_name(f"{target.name}.{kind}.js") for kind in ("live", "next"))
    html = render(dataclasses.replace(page, live=beside.name, next=after.name))
    write_whole(target, html, durable=False)
    if live:
        write_whole(after, following(html), durable=False)
        write_whole(beside, newest(html), durable=False)
