"""From the numbers that a training reports, under whatever names, to epochs of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from interplay.errors import nearest
from interplay.record import JUDGED, EpochMetrics
from interplay.spellings import plain
from interplay.tables.columns import METRICS

_MORE = {
    "train_acc": "train_acc train_accuracy training_acc training_accuracy",
    "val_loss": "val_loss valid_loss validation_loss",
    "lr": "lr learning_rate current_lr",
}
_FIELDS = {
    **{spelling: name.removeprefix("final_") for name, words in METRICS.items() for spelling in words},
    **{spelling: name for name, words in _MORE.items() for spelling in words.split()},
}
"""Fields of `EpochMetrics` by the usual spellings of what they hold."""

_LOSSES = ("train_loss", "test_loss", "val_loss")
_LONGEST_LINE = 2**20
"""Bytes of a line of measurements; longer ones hold something else."""


def numbers_of(values: Mapping[Any, Any], prefix: str = "") -> dict[str, float]:
    """The numbers among ``values`` by name; of mappings within it as ``val/acc``. What is no number is passed over."""
    found: dict[str, float] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and not prefix.count("/") > 2:
            found |= numbers_of(value, f"{name}/")
        elif not isinstance(value, bool | str | bytes) and hasattr(value, "__float__"):
            try:
                found[name] = float(value)
            except (TypeError, ValueError, OverflowError):
                continue  # an array of several numbers, say
    return found


class Curve:
    """The epochs of one run, as they become known.

    Lines of one epoch are put together; a line of an earlier epoch than the last begins anew from there, as a training
    does that goes on from a checkpoint. Lines without an epoch are final values. At the end the last value of each
    name is final, whichever line it was in.

    Args:
        metric: key by which the run is judged; empty for the usual names.
        lower: whether less of it is better.
        before: epochs of earlier attempts.
    """

    def __init__(self, metric: str = "", lower: bool = False, before: Sequence[EpochMetrics] = ()) -> None:
        self.metric, self._lower = metric, lower
        self._epochs: dict[int, EpochMetrics] = {each.epoch: each for each in before}
        self._final: dict[str, Any] = {}
        self._from_zero = False
        self._moved: float | None = None
        self.diverged: str | None = None
        """Why the run counts as diverged, once it does."""
        self.seconds_before = sum(each.seconds for each in before)
        """Of the epochs of earlier attempts."""

    @property
    def last(self) -> int:
        """The epoch that has ended last; 0 before the first."""
        return max(self._epochs, default=0)

    def begin(self, now: float) -> None:
        """Note when the attempt began, for the seconds of its first epoch."""
        self._moved = now

    def add(self, values: Mapping[Any, Any], now: float, *, old: bool = False) -> EpochMetrics | None:
        """Take one line; returns the epoch where it is a new one.

        Args:
            values: as they were reported.
            now: when, on the clock of `begin`.
            old: whether an earlier attempt wrote it, whose epochs are known: then nothing begins anew.
        """
        numbers = numbers_of(values)
        stated = numbers.pop("epoch", None)
        numbers = {name: value for name, value in numbers.items() if name != "epochs"}
        if not numbers:
            return None
        fields = self._fields(numbers)
        if stated is None or not 0 <= stated < 2**31:
            self._check(fields, None)
            self._finally(fields)
            return None
        self._from_zero |= stated == 0
        epoch = max(1, math.ceil(stated) + self._from_zero)  # 0.5 is within the first
        self._check(fields, epoch)
        self._finally(fields)
        known = self._epochs.get(epoch)
        new = known is None or (epoch < self.last and not old)
        if not old:
            self._epochs = {each: metrics for each, metrics in self._epochs.items() if each <= epoch}
        seconds = now - self._moved if self._moved is not None else 0.0
        if new:
            self._moved = now
            known = EpochMetrics(epoch, math.nan, None, None, None, None, seconds=max(0.0, seconds))
        assert known is not None, "an epoch that is not new is known"
        self._epochs[epoch] = _with(known, fields)
        return self._epochs[epoch] if new else None

    def finished(self) -> tuple[EpochMetrics, ...]:
        """All epochs, the last with the last value of each name; one for a run that reported no epochs."""
        if not self._epochs and self._final:
            self._epochs[1] = EpochMetrics(1, math.nan, None, None, None, None)
        if self._epochs:
            last = self._epochs[self.last]
            self._epochs[self.last] = _with(last, self._final)
        return tuple(self._epochs[epoch] for epoch in sorted(self._epochs))

    def _finally(self, fields: Mapping[str, Any]) -> None:
        others = {**self._final.get("instruments", {}), **fields.get("instruments", {})}
        self._final |= {**fields, "instruments": others}

    def missing(self) -> str | None:
        """Why the run cannot be judged; ``None`` where it can. Of a run with `finished` epochs."""
        last = self._epochs[self.last]
        if self.metric:
            if (last.test_loss if self._lower else last.test_acc) is not None:
                return None
            return (
                f"it reported no {self.metric!r}, by which it is to be judged; {nearest(self.metric, last.instruments)}"
            )
        if any(getattr(last, name.removeprefix("final_")) is not None for name in JUDGED):
            return None
        names = ", ".join(sorted(last.instruments)) or "nothing else"
        return f"it reported {names}, none under a usual name; say metric = in [trainer] by which it is to be judged"

    def _fields(self, numbers: Mapping[str, float]) -> dict[str, Any]:
        """Numbers by field; those without one as instruments."""
        fields: dict[str, Any] = {}
        others: dict[str, float | None] = {}
        judged = "test_loss" if self._lower else "test_acc"
        for name, value in numbers.items():
            if self.metric and plain(name) == plain(self.metric):
                fields[judged] = value
                continue
            field = _field(name)
            if field is None or field == "best_test_acc" or (self.metric and field == judged) or field in fields:
                others[name] = value if math.isfinite(value) else None
            else:
                fields[field] = value
        if "loss" in others and "train_loss" not in fields:
            others.pop("loss")
            fields["train_loss"] = numbers["loss"]
        return {**fields, "instruments": others} if others else fields

    def _check(self, fields: Mapping[str, Any], epoch: int | None) -> None:
        """Notice a loss or a judged metric that is not finite."""
        judged = ("test_loss" if self._lower else "test_acc") if self.metric else "val_acc"
        for name in (*_LOSSES, "test_acc", judged):
            value = fields.get(name)
            if value is not None and not math.isfinite(value) and self.diverged is None:
                what = self.metric if self.metric and name == judged else name
                when = f" in epoch {epoch}" if epoch is not None else ""
                self.diverged = f"{what} is {value}{when}"


def _field(name: str) -> str | None:
    return _FIELDS.get(plain(name))


def _with(metrics: EpochMetrics, fields: Mapping[str, Any]) -> EpochMetrics:
    others = {**metrics.instruments, **fields.get("instruments", {})}
    told: dict[str, Any] = {
        name: value if math.isfinite(value) else None for name, value in fields.items() if name != "instruments"
    }
    if told.get("lr", 0.0) is None:
        told["lr"] = math.nan
    return dataclasses.replace(metrics, **told, instruments=others)


class Lines:
    """Measurements of a file, read as it grows: lines that patterns know; without any, one JSON object a line.

    A file that was replaced, cut short or written anew is read from its beginning. A line that is not complete waits.

    Args:
        path: of the file.
        offset: in bytes, where to begin.
        patterns: regular expressions; what their named groups match are numbers, of the first that matches.
    """

    def __init__(self, path: Path, offset: int = 0, patterns: Sequence[str] = ()) -> None:
        self.path, self._begin, self._offset = path, offset, offset
        self._checksum: int | None = 0
        """Of what was read, from where it began; ``None`` where that is no longer there."""
        self._patterns = [re.compile(each) for each in patterns]
        self._inode: int | None = None
        self.found = False
        """Whether there was any object."""

    def moved(self, offset: int) -> None:
        """What was read ends at ``offset`` now: the file was cut at its beginning."""
        self._offset, self._checksum = offset, None

    def new(self, *, last: bool = False) -> Iterator[dict[str, Any]]:
        """Objects since the last call; with ``last`` also one whose line has no end."""
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_size < self._offset or (self._inode is not None and stat.st_ino != self._inode):
                    self._begin = self._offset = self._checksum = 0
                self._inode = stat.st_ino
                if last and self._is_other(file):
                    self._begin = self._offset = self._checksum = 0
                if stat.st_size == self._offset:
                    return
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return  # not there yet
        whole, end, rest = data.rpartition(b"\n")
        lines = [*whole.split(b"\n"), *([rest] if last else [])] if end or last else []
        read = data if last else whole + end
        self._offset += len(read)
        if self._checksum is not None:
            self._checksum = zlib.crc32(read, self._checksum)
        for line in lines:
            found = self._matched(line) if self._patterns else _object(line)
            if found is not None:
                self.found = True
                yield found

    def _is_other(self, file: BinaryIO) -> bool:
        """Whether what was read is not what is there: emptied and written again between two looks."""
        if self._checksum is None:
            return False
        file.seek(self._begin)
        return zlib.crc32(file.read(self._offset - self._begin)) != self._checksum

    def _matched(self, line: bytes) -> dict[str, Any] | None:
        if len(line) > _LONGEST_LINE:
            return None
        text = line.decode(errors="replace").strip().rpartition("\r")[2]  # what a progress bar shows last
        match = next((match for each in self._patterns if (match := each.search(text))), None)
        if match is None:
            return None
        found = {}
        for name, word in match.groupdict().items():
            with contextlib.suppress(TypeError, ValueError):
                found[name] = float(word.rstrip("%,;"))
        return found or None

    def whole(self) -> list[dict[str, Any]]:
        """The objects of a file that is one JSON document over several lines; none where it is no such thing."""
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return []
        parts = found if isinstance(found, list) else [found]
        return [part for part in parts if isinstance(part, dict)]


def _object(line: bytes) -> dict[str, Any] | None:
    line = line.strip()
    if not line.startswith(b"{") or len(line) > _LONGEST_LINE:
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
