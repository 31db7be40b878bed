"""The tables of docs/digits.md from the runs of its three sets.

``python docs/make_digits_table.py results/digits/results.csv`` prints those of the page; the argument may also be an
output folder, such as the ``outputs`` of ``make demo``. A cell is the mean over the runs that finished; where some
diverged, it says how many of how many finished, and is not taken for the best of its row.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

RECIPE = {
    "dataset": "digits",
    "model": "mlp",
    "label_noise": 0.4,
    "optimizer": "sgd",
    "epochs": 60,
    "schedule": "cosine",
}
DECAYS = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08]

RATES = [0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2]


def cell(runs: pd.DataFrame) -> tuple[str, float]:
    """What a cell says of its runs, and its mean where all of them finished."""
    finished = runs[runs.status == "finished"].final_test_acc
    if finished.empty:
        return "diverged" if len(runs) else "", float("nan")
    mean = float(finished.mean())
    if len(finished) < len(runs):
        return f"{mean:.1f} ({len(finished)} of {len(runs)})", float("nan")
    return f"{mean:.1f}", mean


def markdown(runs: pd.DataFrame, row: str, column: str, corner: str) -> str:
    """Rows of per cent with the best of each in bold."""
    columns = sorted(set(runs[column]))
    lines = [f"| {corner} | " + " | ".join(f"{c:g}" for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, those in runs.groupby(row):
        cells = [cell(those[those[column] == c]) for c in columns]
        best = max((mean for _, mean in cells if mean == mean), default=None)
        said = [f"**{text}**" if mean == best else text for text, mean in cells]
        lines.append(f"| {name if isinstance(name, str) else format(name, 'g')} | " + " | ".join(said) + " |")
    return "\n".join(lines)


def tables(results: pd.DataFrame) -> list[str]:
    """Sets 2, 3 and 1 as Markdown. Runs of other studies in the same table, such as the arms, are left out."""
    found = results[(results[list(RECIPE)] == pd.Series(RECIPE)).all(axis=1)]
    heavy = found[(found.momentum == 0.9) & found.wd.isin(DECAYS)]
    second = heavy[(heavy.batch_size == 128) & heavy.lr.isin([0.01, 0.02, 0.05, 0.1, 0.3])]
    third = heavy[((heavy.lr - 0.05 * heavy.batch_size / 128).abs() < 1e-9) & (heavy.wd < DECAYS[-1])]
    first = found[(found.batch_size == 128) & found.momentum.isin([0, 0.9]) & found.lr.isin(RATES)]
    first = first[((first.momentum == 0) & (first.wd == 0)) | (first.wd == 0.02)]
    return [
        markdown(second, "lr", "wd", "η \\ λ"),
        markdown(third, "batch_size", "wd", "B \\ λ"),
        markdown(first, "method", "lr", "method \\ η"),
    ]


if __name__ == "__main__":
    source = Path(sys.argv[1])
    print("\n\n".join(tables(pd.read_csv(source / "results" / "results.csv" if source.is_dir() else source))))
