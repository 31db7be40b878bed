"""What the benchmarks share: measuring in turn, tables, where they ran, and where results are kept."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from interplay.train.environment import commit, device_name

RESULTS = Path(__file__).resolve().parent / "results"


class Report:
    """Prints lines and keeps them, to be saved under `RESULTS` with the date and the machine in their name."""

    def __init__(self, name: str, device: torch.device | None = None) -> None:
        self.name, self.device = name, device or torch.device("cpu")
        self.lines: list[str] = []
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.say(f"{name}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
        self.say(f"{device_name(self.device)}, {cores} cores, {platform.platform()}")
        self.say(f"Python {platform.python_version()}, torch {torch.__version__}, commit {commit()}")
        self.say("Everything below was measured in this one run; times of other runs or machines do not compare.")

    def say(self, line: str = "") -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        self.lines.append(line)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table with the first column to the left and the others to the right."""
        cells = [[str(cell) for cell in row] for row in (columns, *rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
        self.say()
        self.say(title)
        for row in cells:
            first, *others = (
                cell.ljust(width) if not place else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            self.say("  ".join(["  " + first, *others]).rstrip())

    def verdict(self, what: str, ratio: float, bar: float) -> None:
        """Say whether a ratio reaches its bar."""
        self.say(f"  {'reached' if ratio >= bar else 'MISSED'}: {what} {ratio:.1f} times, to be at least {bar:g}")

    def save(self) -> Path:
        """Write what was said to a file of its own; returns its path."""
        machine = re.sub(r"[^A-Za-z0-9]+", "-", device_name(self.device)).strip("-").lower()
        path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{self.name}-{machine}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        print(f"\nkept in {path.relative_to(RESULTS.parents[1])}")
        return path


def in_turn(ways: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median of what each way returns, over ``repeats`` rounds of all of them, so that a slow moment hits all alike."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            found[name].append(way())
    return {name: statistics.median(values) for name, values in found.items()}


def rate(work: Callable[[], int], seconds: float) -> float:
    """Items a second: ``work`` returns how many it did and is repeated for about ``seconds``, after one warm-up."""
    work()
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        count += work()
    return count / passed
