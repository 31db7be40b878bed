"""What is read from runs: the analysis, comparisons, predictions, and the documented figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from interplay.analysis.analyze import analyze as judged
from interplay.analysis.compare import Comparison
from interplay.analysis.compare import compare as compared
from interplay.analysis.conclude import OTHER_METRIC, Analysis, beside_other_metric, tabulate
from interplay.analysis.observations import Observations, from_records, measured, observed
from interplay.analysis.predict import Prediction
from interplay.analysis.predict import predict as predicted
from interplay.analysis.rules import Of
from interplay.errors import InputError, SpecError, UnreadableError
from interplay.notes import note
from interplay.record import judged_by
from interplay.spec import RunSpec
from interplay.store.manifest import claims as manifest_claims
from interplay.store.store import Store
from interplay.study.claims import Claim, known_claims, resolved
from interplay.study.files import claims_of
from interplay.summary import different_code
from interplay.tables.mapping import ColumnMap
from interplay.tables.measurements import Parsed
from interplay.tables.read import read as read_table
from interplay.tables.rows import Measurements
from interplay.tables.sources import no_runs, tables_of
from interplay.text import given, shown


class Tables:
    """Tables in files, each read and parsed once, however many metrics its runs are judged by.

    ``columns`` says which of their columns are which, where their names do not.
    """

    def __init__(self, columns: ColumnMap | None = None) -> None:
        self.columns = columns or ColumnMap()
        self._parsed: dict[tuple[Path, str], Parsed] = {}

    def measured(self, path: Path, name: str, metric: str) -> Measurements:
        """The runs of the table in ``path``, called ``name``, by ``metric``; raises `InputError` as `observations`."""
        if (path, name) not in self._parsed:
            self._parsed[path, name] = Parsed(self.columns.applied(read_table(path, name)))
        return measured(self._parsed[path, name], metric)


def observations(inputs: Sequence[str | Path], metric: str, tables: Tables | None = None) -> list[Observations]:
    """Observations of each input: an output folder with runs of this lab or imported tables, or a CSV file.

    ``tables`` are those that have been read already, for another metric.

    Raises:
        UnreadableError: an input that is neither, or cannot be read.
        InputError: an input that is empty or cannot be understood; names file and line.
    """
    found = []
    tables = tables or Tables()
    metric = tables.columns.metric(metric)
    for name, each in named(inputs):
        if each.is_dir():
            records = list(Store(each).records())
            runs = from_records(records, judged_by(records, metric), name if len(inputs) > 1 else None)
            found.append(dataclasses.replace(runs, notes=(*runs.notes, *different_code(records))))
            if not any(run.value is not None for run in found[-1].runs) and metric == "final_val_acc":
                raise InputError(f"no run of {each} has {metric}: none held out images (val_split)")
        else:
            found.append(observed(tables.measured(each, name, metric), metric))
        if not found[-1].runs:
            raise no_runs(each, found[-1].notes)
    return found


def named(inputs: Sequence[str | Path]) -> list[tuple[str, Path]]:
    """Each input with the name of its repetitions; raises `UnreadableError` for what is neither folder nor file."""
    paths = [part for each in inputs for part in _parts(given("the name of an input", each))]
    for path in paths:
        if not path.is_dir() and not path.is_file():
            raise UnreadableError(f"{path} is neither an output folder nor a CSV file")
    names = [path.name for path in paths]
    # The same file name in two folders is two batches; the same file twice is found by its numbers.
    return [
        (path.name if names.count(path.name) == 1 else f"{path}#{index}", path)
        for index, path in enumerate(paths, start=1)
    ]


def _parts(path: Path) -> list[Path]:
    """What an input stands for: an output folder for its runs, if it has any, and for the tables imported into it."""
    tables = tables_of(path) if path.is_dir() else []
    return [*([path] if not tables or (path / "runs").is_dir() else []), *tables]


def claims_in(sources: Sequence[str | Path]) -> tuple[str | Claim, ...]:
    """The claims of study files and of documented sets, each once; see `claims_of` for what it raises."""
    return tuple(dict.fromkeys(claim for each in sources for claim in claims_of(each)))


def analyze(
    inputs: Sequence[str | Path],
    metric: str = "final_test_acc",
    claims: Sequence[str | Claim] = (),
    columns: ColumnMap | None = None,
) -> Analysis:
    """Analyse output folders and tables together, as repeated batches; see `interplay.analysis`.

    Args:
        inputs: output folders and CSV files.
        metric: column to analyse.
        claims: identifiers of the programme's claims and claims of one's own; they come first, with those that the
            studies which wrote the folders state.
        columns: which columns of tables are which, where their names do not tell.

    Where accuracy and loss decide otherwise, the verdicts say so.

    Raises:
        InputError: an input cannot be understood; names file and line.
        SpecError: two claims of the same id.
    """
    own = claims_of_all(claims, inputs)
    tables = Tables(columns)
    found = judged(observations(inputs, metric, tables), own=own)
    if found.metric != metric or metric not in OTHER_METRIC:
        return found
    try:
        return beside_other_metric(found, observations(inputs, OTHER_METRIC[metric], tables), own)
    except InputError:  # these inputs do not have it
        return found


def claims_of_all(claims: Sequence[str | Claim], inputs: Sequence[str | Path]) -> tuple[str | Claim, ...]:
    """``claims``, and what the studies that wrote the folders among ``inputs`` state under other names.

    Raises:
        SpecError: a claim that is not known, or two of the same id.
    """
    asked = known_claims(tuple(claims))
    names = {claim.id for claim in resolved(asked)}
    return (*asked, *(claim for claim in stated(inputs) if not names & {each.id for each in resolved([claim])}))


def stated(inputs: Sequence[str | Path]) -> tuple[str | Claim, ...]:
    """The claims of the studies that wrote the folders among ``inputs``, each once.

    A claim that this version does not understand, or whose id another one has, is named in a note and passed over.
    """
    found: dict[str, str | Claim] = {}
    for folder in (Path(each) for each in inputs if Path(each).is_dir()):
        for each in manifest_claims(folder):
            try:
                (claim,) = known_claims((each if isinstance(each, str) else Claim.from_table(each, "its claim"),))
            except SpecError as error:
                note(f"{folder}: a study in it states a claim that is not known: {error}", "claims")
                continue
            name = claim.id if isinstance(claim, Claim) else claim
            if found.setdefault(name, claim) != claim:
                note(f"{folder}: two of its studies state different claims called {name}; the first is read", "claims")
    return tuple(found.values())


def compare(ours: Sequence[str | Path], theirs: Sequence[str | Path], metric: str = "final_test_acc") -> Comparison:
    """The cells that both have, their differences against the noise, and the verdicts of both; see `analysis.compare`.

    Raises:
        InputError: an input cannot be understood; names file and line.
    """
    return compared(observations(ours, metric), observations(theirs, metric))


def predict(
    inputs: Sequence[str | Path],
    *,
    batch_size: int,
    epochs: int,
    lr: float | None = None,
    weight_decay: float | None = None,
    momentum: float = 0.9,
    metric: str = "final_test_acc",
) -> Prediction:
    """The best weight decay for ``lr``, or the best learning rate for ``weight_decay``, from what was measured.

    Raises:
        SpecError: both or neither of the two given, or a value out of range.
        InputError: an input cannot be understood.
        PredictionError: too few optima.
    """
    if (lr is None) == (weight_decay is None):
        raise SpecError("give either lr (to predict weight_decay) or weight_decay (to predict lr)")
    of: Of = "weight_decay" if lr is not None else "lr"
    known, value = ("lr", lr) if lr is not None else ("weight_decay", weight_decay)
    if value is None or isinstance(value, bool) or not 0 < value < float("inf"):
        raise SpecError(f"{known} must be a finite number greater than 0, not {shown(value)}")
    # The limits of all other knobs are those of a run.
    RunSpec(batch_size=batch_size, epochs=epochs, momentum=momentum)
    table, _ = tabulate(observations(inputs, metric))
    found = predicted(table, of, {known: value, "batch_size": batch_size, "epochs": epochs, "momentum": momentum})
    return dataclasses.replace(found, notes=(*found.notes, *table.notes))
