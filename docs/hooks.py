"""Fill the table of knobs into the reference when the site is built: one list of them, in `RunSpec`."""

from __future__ import annotations

import dataclasses
from typing import Any

from interplay.spec import RunSpec, choices

MARK = "<!-- knobs -->"


def knobs() -> str:
    """Name, default and meaning of every knob, as Markdown."""
    lines = ["| knob | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(RunSpec):
        default = "" if field.default in (None, "") else f"`{field.default}`"
        words = choices().get(field.name, ())
        # The help of some knobs explains each word by itself.
        listed = "" if all(word in field.metadata["help"] for word in words) else f": {', '.join(words)}"
        lines.append(f"| `{field.name}` | {default} | {field.metadata['help']}{listed} |")
    return "\n".join(lines)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    return markdown.replace(MARK, knobs()) if MARK in markdown else markdown
