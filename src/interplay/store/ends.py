"""Which runs have ended, read from the table as it grows: one file for all workers, not a look at every folder."""

from __future__ import annotations

import io
import os
from pathlib import Path

from interplay.store.files import readable
from interplay.store.table import COLUMNS, cells_of

_RUN_ID, _STATUS = list(COLUMNS).index("run_id"), list(COLUMNS).index("status")


class Ends:
    """Follows ``results.csv``. ``status`` says of each run that has a row how it ended.

    A *hint*, one look behind the records at most: whoever is about to run something still asks the run's folder, and
    what a kill kept out of the table is put there when whoever starts next reconciles. A look costs one stat, and reads
    what was appended since; a table that was written anew is read anew.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        self.status: dict[str, str] = {}
        self._inode = 0
        self._offset = 0
        self._last = b""

    def look(self) -> list[str]:
        """Read what is new; returns the runs that have a row now and had none, or another one, at the last look."""
        try:
            with readable(self.table).open("rb") as file:
                return self._read(file)
        except FileNotFoundError:
            self.status, self._inode, self._offset, self._last = {}, 0, 0, b""
            return []
        except OSError:
            return []  # no table, or a pause of the file server: the folders of the runs say the same, only slower

    def _read(self, file: io.BufferedReader) -> list[str]:
        facts = os.fstat(file.fileno())
        before: dict[str, str] = {}
        start = self._offset - len(self._last)
        if facts.st_ino != self._inode or facts.st_size < self._offset:
            start = -1
        elif facts.st_size == self._offset:
            return []
        else:
            file.seek(start)
            if file.read(len(self._last)) != self._last:  # written anew under the old number
                start = -1
        if start < 0:
            before, self.status = self.status, {}
            self._offset = 0
            file.seek(0)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._inode, self._offset = facts.st_ino, self._offset + len(whole)
        lines = whole.decode("utf-8", errors="replace").splitlines()
        if whole:
            self._last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        fresh = []
        for line in lines:
            cells = cells_of(line)
            if cells is not None and len(cells) == len(COLUMNS) and cells[_RUN_ID] != "run_id":
                run_id, status = cells[_RUN_ID], cells[_STATUS]
                if before.get(run_id) != status and self.status.get(run_id) != status:
                    fresh.append(run_id)
                self.status[run_id] = status
        return fresh
