"""Whether all that a study will write can be written, before anything is trained."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from interplay.errors import InterplayError
from interplay.store.leases import LOCKS
from interplay.store.store import Store


class UnwritableError(InterplayError):
    """Results could not be written, so nothing was started."""

    exit_code = 2


def check_writable(store: Store, run_ids: Iterable[str] = (), further: Iterable[str] = ()) -> None:
    """Try to write where runs will write; nothing that is there is changed.

    Args:
        store: the store of the runs.
        run_ids: the runs that are to be trained.
        further: names of other folders of the store, such as ``logs``.

    Raises:
        UnwritableError: something cannot be written; names it, and the reason.
    """
    for name in ("", "runs", "results", LOCKS, *further):
        _try_folder(store.root / name)
    for file in (store.results, store.aside, store.results.with_name(".results.lock")):
        if file.exists():
            _try_file(file)
    for run_id in run_ids:
        folder = store.folder(run_id)
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise _refusal(folder, "Permission denied")


def _try_folder(folder: Path) -> None:
    try:
        there = folder
        while not os.path.lexists(there):  # it will be made, so its parent must allow that
            there = there.parent
        probe = there / f".probe.{os.getpid()}.{secrets.token_hex(4)}"
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise _refusal(there, error.strerror) from error


def _try_file(file: Path) -> None:
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_APPEND))
    except OSError as error:
        raise _refusal(file, error.strerror) from error


def _refusal(path: Path, why: str | None) -> UnwritableError:
    return UnwritableError(
        f"{path} cannot be written: {why}; nothing was started. Free it, or say another --output_dir"
    )
