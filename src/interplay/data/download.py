"""Downloads that resume, show their progress and are checked before anyone sees them."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from interplay.errors import DownloadError

_CHUNK = 1 << 18


def md5_of(path: Path) -> str:
    """Hexadecimal md5 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def download(url: str, target: Path, md5: str, *, attempts: int = 3, timeout: float = 30.0) -> None:
    """Fetch ``url``, continuing an earlier partial download; ``target`` appears only once its md5 is right.

    Raises:
        DataError: ``attempts`` in a row brought nothing (what has arrived is kept for next time), or a wrong checksum.
    """
    partial = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    continued = partial.exists()
    _fetch(url, partial, attempts, timeout)
    found = md5_of(partial)
    if found != md5 and continued:  # what an earlier session left may be of another version
        partial.unlink()
        _fetch(url, partial, attempts, timeout)
        found = md5_of(partial)
    if found != md5:
        partial.unlink()
        raise DownloadError(f"{target.name} downloaded from {url} has md5 {found}, expected {md5}; it was removed")
    partial.replace(target)


def _fetch(url: str, partial: Path, attempts: int, timeout: float) -> None:
    failures = 0
    while True:
        have = partial.stat().st_size if partial.exists() else 0
        try:
            _continue(url, partial, timeout)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # nothing left to ask for: the partial file is already whole
                return
            if error.code != 429 and error.code < 500:
                raise DownloadError(f"{url} answers {error.code} {error.reason}") from error
            problem: Exception = error
        except (OSError, HTTPException) as error:
            problem = error
        # An attempt that brought something does not count: a slow and flaky line gets there too.
        progressed = partial.exists() and partial.stat().st_size > have
        failures = 0 if progressed else failures + 1
        if failures == attempts:
            raise DownloadError(f"cannot download {url}: {getattr(problem, 'reason', problem)}") from problem
        time.sleep(0.2 * failures)


def _continue(url: str, partial: Path, timeout: float) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    from tqdm import tqdm  # not needed where the data are there already

    with urllib.request.urlopen(request, timeout=timeout) as response:
        resumed = response.status == 206
        if not resumed:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            partial.open("ab" if resumed else "wb") as file,
            tqdm(
                total=total, initial=have, unit="B", unit_scale=True, desc=partial.stem, disable=not sys.stderr.isatty()
            ) as bar,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and partial.stat().st_size < total:
            raise OSError(f"the connection closed after {partial.stat().st_size} of {total} bytes")


def enough_space(folder: Path, needed: int) -> None:
    """Raise `DataError` if ``folder`` has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(f"{folder} has {free >> 20} MiB free; the data need {needed >> 20} MiB")
