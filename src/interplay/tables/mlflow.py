"""Runs of MLflow as a table: from a tracking folder, a data base or a server, through MLflow itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interplay.errors import InputError, UnreadableError, nearest
from interplay.tables.cells import table_of, text_of, without_library
from interplay.tables.read import TextTable

PAGE = 1000
"""Runs that are asked for at a time."""


def read(source: str, experiment: str | None = None) -> TextTable:
    """The runs of one experiment, a row each, with parameters, the last value of each metric, and tags.

    Args:
        source: a folder (``mlruns``), an SQLite file, or any tracking URI.
        experiment: its name; needed where several experiments hold runs.

    Columns are ``run_id``, ``status``, ``params.NAME``, ``metrics.NAME`` and ``tags.NAME`` (those of users, not of
    MLflow).

    Raises:
        UnreadableError: there is no such folder or file, or MLflow cannot open it.
        InputError: no experiment has runs, or several have and none is named.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.entities import ViewType
    except ImportError as error:
        raise without_library("mlflow", "mlflow-skinny") from error
    uri = _uri(source)
    try:
        with _quiet():
            client = MlflowClient(tracking_uri=uri)
            named = {each.name: each.experiment_id for each in client.search_experiments()}
            if experiment is not None and experiment not in named:
                raise InputError(f"{source}: no experiment {experiment!r}; {nearest(experiment, named)}")
            runs: dict[str, list[Any]] = {}
            for name, number in named.items():
                if experiment in (None, name):
                    runs[name] = []
                    token = None
                    while True:
                        page = client.search_runs([number], "", ViewType.ACTIVE_ONLY, PAGE, ["start_time"], token)
                        runs[name] += list(page)
                        if not (token := page.token):
                            break
    except InputError:
        raise
    except Exception as error:  # what a data base or a server raises depends on its driver
        raise UnreadableError(f"{source}: MLflow cannot open it: {error}") from error
    filled = [name for name, found in runs.items() if found]
    if len(filled) != 1:
        said = f"has the experiments {', '.join(filled)}: name one with --study" if filled else "holds no runs"
        raise InputError(f"{source} {said}")
    (name,) = filled
    rows = []
    for run in runs[name]:
        row = {"run_id": run.info.run_id, "status": str(run.info.status)}
        row |= {f"params.{key}": text_of(value) for key, value in run.data.params.items()}
        row |= {f"metrics.{key}": text_of(value) for key, value in run.data.metrics.items()}
        row |= {f"tags.{key}": text_of(v) for key, v in run.data.tags.items() if not key.startswith("mlflow.")}
        rows.append(row)
    return table_of(rows, name)


def _uri(source: str) -> str:
    if "://" in source:
        path = Path(source.removeprefix("sqlite:///"))
        if source.startswith("sqlite:///") and not path.is_file():  # MLflow would make an empty one
            raise UnreadableError(f"{path} is no file")
        return source
    path = Path(source)
    if path.is_dir():
        return path.resolve().as_uri()
    if path.is_file():
        return f"sqlite:///{path.resolve()}"
    raise UnreadableError(f"{source} is neither a folder nor a file nor a tracking URI")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MLflow's lines about the tables it looks at; its folders of files are read although it makes no new ones.

    Its advice to move to a data base is for those who write, and reading needs the word ``MLFLOW_ALLOW_FILE_STORE``.
    """
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    before = os.environ.get("MLFLOW_ALLOW_FILE_STORE")
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if before is None:
            del os.environ["MLFLOW_ALLOW_FILE_STORE"]
        else:
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = before
