"""How a page becomes one HTML file that needs nothing else."""

from __future__ import annotations

import json
import re
import zlib
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from interplay.page import charts, sections
from interplay.page.content import Page
from interplay.page.rows import Cells, columns
from interplay.record import cleaned

LIBRARIES = ("plotly.min.js", "dataTables.min.js", "dataTables.buttons.min.js")
"""Kept under ``assets`` with their licences."""

SCRIPTS = ("common.js", "figures.js", "explore.js", "table.js", "start.js")
"""The page's own, in the order in which they build on each other."""


def render(page: Page) -> str:
    """The HTML of ``page``, with its libraries in it; equal pages give equal text."""
    cells = Cells(page)
    figures = [
        *(charts.ordering(page.ordering, cells) if page.ordering else ()),
        *(charts.heatmap(page.heatmap, cells) if page.heatmap else ()),
        *(charts.scaling(page.scaling, cells) if page.scaling else ()),
        *(charts.importance(page.importance, page.metric) if page.importance else ()),
        *(charts.collapse(page.collapse, cells) if page.collapse else ()),
        *(charts.agreement(page.prediction) if page.prediction else ()),
    ]
    data = {
        "metric": page.metric,
        "created": page.created,
        "refresh": page.refresh,
        "live": page.live if page.refresh else "",
        "next": page.next if page.refresh else "",
        "importance": page.importance.to_dict() if page.importance else None,
        "analysis": page.analysis.to_dict() if page.analysis else None,
        "charts": {figure.id: {"data": figure.data, "layout": figure.layout} for figure in figures},
        **columns(page, cells),
    }
    text = as_json(data)
    html: str = (
        _template()
        .render(
            page=page,
            stamp=f"{zlib.crc32(text.encode()):08x}",
            css=Markup(_file("page.css")),
            data=Markup(text),
            libraries=_libraries(),
            script=as_script("\n".join(_file(f"js/{name}") for name in SCRIPTS)),
            **sections.context(page, figures),
        )
        .lstrip()
    )
    return html


def live(html: str) -> str:
    """The script beside a page that looks again: it tells the page what the newest one is, in a line."""
    found = re.search(r'data-stamp="(\w+)"', html)
    return f'lab.live("{found[1] if found else ""}");\n'


def following(html: str) -> str:
    """The newest page as a script for an open one, which has the libraries: they are left out."""
    for number, library in enumerate(_libraries()):
        html = html.replace(f"<script data-library>{library}<", f"<script data-library>/* library {number} */<")
    return f"lab.next({as_json(html)});\n"


def _libraries() -> list[Markup]:
    return [as_script(_file(f"assets/{name}")) for name in LIBRARIES]


def as_json(value: object) -> str:
    """JSON that may stand inside a script element: no ``<``, so nothing in it ends the element or opens another."""
    text = json.dumps(cleaned(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def as_script(source: str) -> Markup:
    """A script ends at the first "</script" wherever it stands; in a string of JavaScript "<\\/" says the same."""
    return Markup(source.replace("</script", "<\\/script"))


def _template() -> Any:
    """Every value is escaped but those that are `Markup`; a name that is missing is an error."""
    environment = Environment(
        loader=FunctionLoader(_file), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("template.html")


def _file(name: str) -> str:
    return resources.files("interplay.page").joinpath(name).read_text(encoding="utf-8")
