"""Trials of an Optuna study as a table: from its storage, through Optuna itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interplay.errors import InputError, UnreadableError, nearest
from interplay.tables.cells import table_of, text_of, without_library
from interplay.tables.mapping import HIGHER, LOWER
from interplay.tables.read import TextTable


def read(source: str, study: str | None = None) -> TextTable:
    """The trials of one study, a row each.

    Args:
        source: the URL of a storage (``sqlite:///sweep.db``), an SQLite file, or the file of a journal storage.
        study: its name; needed where the storage holds several.

    Columns are ``number``, ``state``, ``params_NAME`` and ``user_attrs_NAME``. The objective is ``final_test_acc`` of a
    study that maximises and ``final_test_loss`` of one that minimises; a study of several objectives has them under the
    names that it gave them, or as ``values_0``, ``values_1``.

    Raises:
        UnreadableError: there is no such file, or Optuna cannot open it.
        InputError: there is no study, or several and none is named.
    """
    try:
        import optuna
    except ImportError as error:
        raise without_library("optuna") from error
    try:
        storage = _storage(source)
        names = [each.study_name for each in optuna.get_all_study_summaries(storage, include_best_trial=False)]
    except (UnreadableError, InputError):
        raise
    except Exception as error:  # what a data base raises depends on its driver
        raise UnreadableError(f"{source}: Optuna cannot open it: {error}") from error
    if study is None and len(names) != 1:
        said = f"holds the studies {', '.join(names)}: name one with --study" if names else "holds no study"
        raise InputError(f"{source} {said}")
    name = study if study is not None else names[0]
    if name not in names:
        raise InputError(f"{source}: no study {name!r}; {nearest(name, names)}")
    found = optuna.load_study(study_name=name, storage=storage)
    several = len(found.directions) > 1
    maximised = found.directions[0] == optuna.study.StudyDirection.MAXIMIZE
    objective = HIGHER if maximised else LOWER
    rows = []
    for trial in found.get_trials(deepcopy=False):
        row = {"number": str(trial.number), "state": trial.state.name}
        row |= {f"params_{key}": text_of(value) for key, value in trial.params.items()}
        row |= {f"user_attrs_{key}": text_of(value) for key, value in trial.user_attrs.items()}
        values = trial.values or ()
        if several:
            titles = found.metric_names or [f"values_{index}" for index in range(len(values))]
            row |= {title: text_of(value) for title, value in zip(titles, values, strict=False)}
        elif values:
            row[objective] = text_of(values[0])
        rows.append(row)
    notes = [] if several else [f"{name}: {objective} is the objective, which the study {_verb(maximised)}"]
    return table_of(rows, name, notes)


def _verb(maximised: bool) -> str:
    return "maximises" if maximised else "minimises"


def _storage(source: str) -> Any:
    """What Optuna opens: a URL as it is, a file by what it begins with."""
    if "://" in source:
        path = Path(source.removeprefix("sqlite:///"))
        if source.startswith("sqlite:///") and not path.is_file():  # Optuna would make an empty one
            raise UnreadableError(f"{path} is no file")
        return source
    path = Path(source)
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise UnreadableError(f"{source} cannot be read: {error.strerror}") from error
    if start.startswith(b"SQLite format 3"):
        return f"sqlite:///{path}"
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))
