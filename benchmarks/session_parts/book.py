"""What the parts of a session on a GPU share: sections that may fail, a budget of minutes, one JSON file a part."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import platform
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from common import Report

from interplay.store.files import write_whole
from interplay.train.environment import commit, device_name

GRACE = 15.0
"""Seconds after the budget within which a section that runs may end; then the part ends, with what it has."""

Work = Callable[[], None]
Sections = Mapping[str, Work]
"""What a part does, by name. ``--only`` takes whole names and first words of names."""


@dataclass(frozen=True)
class Options:
    """What the command line says of a part."""

    device: torch.device
    tiny: bool
    out: Path
    minutes: float
    only: tuple[str, ...]
    sizes: tuple[int, ...]
    repeats: int
    at_once: int
    way: str
    data_dir: Path | None

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def place(self) -> str:
        """The device as runs of the lab name it."""
        return "cuda:0" if self.on_gpu else "cpu"


class Session(Report):
    """One part: prints, and keeps everything in ``<out>/<part>.json``, written anew after each table.

    Sections of an earlier call stay in the file until they are run again.

    Args:
        part: its name.
        options: what the command line says.
        began: when its time began (`time.monotonic`); by default now.
    """

    def __init__(self, part: str, options: Options, began: float | None = None) -> None:
        super().__init__(f"gpu_session {part}", options.device)
        self.part, self.options = part, options
        self.path = options.out / f"{part}.json"
        self._end = (time.monotonic() if began is None else began) + 60 * options.minutes
        self._now: dict[str, Any] = {}
        """The section that runs."""
        self._lock = threading.RLock()
        self._children: set[subprocess.Popen[str]] = set()
        self.sections: dict[str, dict[str, Any]] = self._earlier()

    def _earlier(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))["sections"]
        except (OSError, ValueError, KeyError):
            return {}
        return dict(found)

    def left(self) -> float:
        """Seconds of the budget that are left; negative after it."""
        return self._end - time.monotonic()

    # -- sections ---------------------------------------------------------------------------------------------------

    def run(self, sections: Sections) -> bool:
        """Run those sections that are asked for; returns whether none of them failed."""
        chosen = {name: work for name, work in sections.items() if self._is_asked_for(name)}
        if not chosen:
            self.say(f"no section {', '.join(self.options.only)}; there are {', '.join(sections)}")
            return False
        found = [self.section(name, work) for name, work in chosen.items()]  # all of them, whatever one says
        return all(found)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Ends the whole program where the block goes on for longer than the budget and `GRACE`."""
        watch = threading.Timer(max(0.0, self.left()) + GRACE, self._give_up)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _is_asked_for(self, name: str) -> bool:
        only = self.options.only
        return not only or name in only or name.split()[0] in only

    def section(self, name: str, work: Work) -> bool:
        """Run one section; False if something failed, which is kept and printed. After the budget it is left out."""
        if self.left() <= 0:
            self.say(f"\n{name}: left out, the time is over")
            self.sections.setdefault(name, _empty("left out"))
            self.write()
            return True
        self.say(f"\n== {name}")
        self._now = self.sections[name] = {**_empty("running"), **self._where()}
        began = time.monotonic()
        self.write()
        try:
            work()
            self._now["state"] = "done"
        except Exception as error:
            self._now["state"] = "error"
            self.failed(error)
        except BaseException:  # Ctrl-C ends the session, and what is known stays
            self._now["state"] = "interrupted"
            raise
        finally:
            self._now["seconds"] = round(time.monotonic() - began, 2)
            self.write()
            self._tidy()
        return not self._now["errors"]

    def _where(self) -> dict[str, Any]:
        return {
            "began": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z",
            "device": device_name(self.options.device),
            "platform": platform.platform(),
            "torch": str(torch.__version__),
            "cuda": torch.version.cuda,
            "commit": commit(),
        }

    def _tidy(self) -> None:
        """The next section begins with what memory there is."""
        gc.collect()
        if self.options.on_gpu:
            with contextlib.suppress(RuntimeError):  # a broken context fails here too
                torch.cuda.empty_cache()

    def failed(self, error: Exception, of: str = "") -> None:
        """Keep and print an exception; the section that runs may go on."""
        text = "".join(traceback.format_exception(error))
        self._now["errors"].append(
            {"of": of, "error": f"{type(error).__name__}: {error}"[:2000], "trace": text[-8000:]}
        )
        self.say(f"ERROR {of}".rstrip())
        self.say(text)
        self.write()

    def guarded(self, of: str, way: Callable[[], float]) -> Callable[[], float]:
        """``way`` that returns NaN once it has raised, so that the others are measured all the same."""
        broken = False

        def guard() -> float:
            nonlocal broken
            if broken:
                return math.nan
            try:
                return way()
            except Exception as error:
                broken = True
                self.failed(error, of)
                return math.nan

        return guard

    # -- what is kept -----------------------------------------------------------------------------------------------

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """See `Report.table`; kept in the section, in place of an earlier one of that title."""
        super().table(title, columns, rows)
        tables = [each for each in self._now["tables"] if each["title"] != title]
        cells = [[str(cell) for cell in row] for row in rows]
        self._now["tables"] = [*tables, {"title": title, "columns": list(columns), "rows": cells}]
        self.write()

    def keep(self, **values: Any) -> None:
        """Keep values of JSON types in the section."""
        self._now["values"].update(values)
        self.write()

    def write(self) -> None:
        """Write the file whole, under another name first."""
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            found = {"part": self.part, "minutes": self.options.minutes, "sections": self.sections, "said": self.lines}
            write_whole(self.path, json.dumps(found, indent=1) + "\n")

    # -- children ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def child(self, words: Sequence[str | Path], **environment: str) -> Iterator[subprocess.Popen[str]]:
        """A Python process that ends with the block at the latest; its output and errors are one text."""
        process = subprocess.Popen(
            list(map(str, words)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        self._children.add(process)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
            self._children.discard(process)

    def _give_up(self) -> None:
        """The section that runs has gone on for too long; called from a thread of its own."""
        try:
            with self._lock:
                if not self._now:  # what comes before the sections
                    self._now = self.sections["begin"] = _empty("error")
                self._now["state"] = "error"
                self._now["errors"].append({"of": "", "error": "out of time", "trace": ""})
                self.say("ERROR out of time: this part ends in the middle of a section")
                self.write()
                for process in list(self._children):
                    process.kill()
                    process.wait(2)
        finally:
            os._exit(3)  # whatever the section waits for


def _empty(state: str) -> dict[str, Any]:
    return {"state": state, "seconds": 0.0, "tables": [], "values": {}, "errors": []}
