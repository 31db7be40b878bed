"""What is read from runs: the analysis, comparisons, predictions, and the documented figures."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interplay.errors import InputError, SpecError
from interplay.notes import note
from interplay.spec import RunSpec
from interplay.store.manifest import claims as manifest_claims
from interplay.study.claims import Claim, known_claims, resolved
from interplay.text import shown

if TYPE_CHECKING:
    from interplay.analysis.analyze import Analysis
    from interplay.analysis.compare import Comparison
    from interplay.analysis.predict import Prediction


def analyze(
    inputs: Sequence[str | Path], metric: str = "final_test_acc", claims: Sequence[str | Claim] = ()
) -> Analysis:
    """Analyse output folders and tables together, as repeated batches; see `interplay.analysis`.

    Args:
        inputs: output folders and CSV files.
        metric: column to analyse.
        claims: identifiers of the programme's claims and claims of one's own; they come first, with those that the
            studies which wrote the folders state.

    Where accuracy and loss decide otherwise, the verdicts say so.

    Raises:
        InputError: an input cannot be understood; names file and line.
        SpecError: two claims of the same id.
    """
    from interplay import inputs as reading
    from interplay.analysis.analyze import OTHER_METRIC, beside_other_metric
    from interplay.analysis.analyze import analyze as engine

    asked = known_claims(tuple(claims))
    names = {claim.id for claim in resolved(asked)}
    own = (*asked, *(claim for claim in stated(inputs) if not names & {each.id for each in resolved([claim])}))
    found = engine(reading.read(inputs, metric), own=own)
    if metric not in OTHER_METRIC:
        return found
    try:
        return beside_other_metric(found, reading.read(inputs, OTHER_METRIC[metric]), own)
    except InputError:  # these inputs do not have it
        return found


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
    from interplay import inputs as reading
    from interplay.analysis.compare import compare as engine

    return engine(reading.read(ours, metric), reading.read(theirs, metric))


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
    from interplay import inputs as reading
    from interplay.analysis.analyze import tabulate
    from interplay.analysis.predict import predict as engine
    from interplay.analysis.rules import Of

    if (lr is None) == (weight_decay is None):
        raise SpecError("give either lr (to predict weight_decay) or weight_decay (to predict lr)")
    of: Of = "weight_decay" if lr is not None else "lr"
    known, value = ("lr", lr) if lr is not None else ("weight_decay", weight_decay)
    if value is None or isinstance(value, bool) or not 0 < value < float("inf"):
        raise SpecError(f"{known} must be a finite number greater than 0, not {shown(value)}")
    # The limits of all other knobs are those of a run.
    RunSpec(batch_size=batch_size, epochs=epochs, momentum=momentum)
    table, _ = tabulate(reading.read(inputs, metric))
    found = engine(table, of, {known: value, "batch_size": batch_size, "epochs": epochs, "momentum": momentum})
    return dataclasses.replace(found, notes=(*found.notes, *table.notes))


def plot(
    inputs: Sequence[str | Path],
    output_dir: Path,
    experiments: Sequence[int] = (1, 2, 3),
    metric: str = "best_test_acc",
) -> dict[int, Path]:
    """Draw the documented figures that ``inputs`` have the grids for; returns the files by number of experiment.

    They show ``best_test_acc``, as the document has it, unless ``metric`` names another column.
    """
    from interplay import inputs as reading
    from interplay.analysis.analyze import tabulate
    from interplay.figures.documented import draw

    table, _ = tabulate(reading.read(inputs, metric))
    for words in table.notes:
        print(f"note: {words}", file=sys.stderr)
    return draw(table, output_dir, experiments)
