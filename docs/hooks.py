"""When the site is built: the table of knobs from `RunSpec`, the figures that lie under ``results/``, and a page.

One list of knobs and one copy of each figure, where its numbers are.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from interplay.lab.report import report
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


def on_files(files: Files, config: Any) -> Files:
    """Called by mkdocs with the files of the site: each figure under its path in the repository."""
    root = Path(config["config_file_path"]).parent
    for path in sorted(root.glob("results/*/*.png")):
        files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    with tempfile.TemporaryDirectory() as folder:
        page = report([root / "results/digits/results.csv"], Path(folder) / "digits.html", figures=False).page
        files.append(File.generated(config, "pages/digits.html", content=page.read_bytes()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page.

    Pages name figures as ``../results/<name>/<figure>.png``, as they lie beside ``docs/``, or as ``results/...``,
    as they lie in the site.
    """
    markdown = re.sub(r"\]\(\.\./(results/[^)\s]+\.png)\)", r"](\1)", markdown)
    return markdown.replace(MARK, knobs()) if MARK in markdown else markdown
