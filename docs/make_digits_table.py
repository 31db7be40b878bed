"""Fill the tables of docs/digits.md from the results of ``make demo``: ``python docs/make_digits_table.py outputs``."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd


def markdown(table: pd.DataFrame, corner: str) -> str:
    """Rows of per cent with the best of each in bold."""
    lines = [
        f"| {corner} | " + " | ".join(f"{c:g}" for c in table.columns) + " |",
        "|---" * (len(table.columns) + 1) + "|",
    ]
    for name, row in table.iterrows():
        cells = ["" if pd.isna(v) else f"**{v:.1f}**" if v == row.max() else f"{v:.1f}" for v in row]
        label = name if isinstance(name, str) else f"{name:g}"
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tables(results: pd.DataFrame) -> dict[str, str]:
    """The three sets as Markdown."""
    found = results[(results.status == "finished") & (results.dataset == "digits") & (results.epochs == 60)]
    found = found[found.schedule == "cosine"]
    momentum = found[found.momentum == 0.9]
    decays = sorted(set(momentum.wd))
    second = momentum[(momentum.batch_size == 128) & momentum.lr.isin([0.01, 0.02, 0.05, 0.1, 0.3])]
    third = momentum[((momentum.lr - 0.05 * momentum.batch_size / 128).abs() < 1e-9) & (momentum.wd < max(decays))]
    first = found[(found.batch_size == 128) & found.wd.isin([0, 0.02]) & ~found.lr.isin([0.02, 0.3])]
    pivot = {"values": "final_test_acc", "aggfunc": "mean"}
    return {
        "@TABLE1@": markdown(first.pivot_table(index="method", columns="lr", **pivot), "method \\ η"),
        "@TABLE2@": markdown(second.pivot_table(index="lr", columns="wd", **pivot), "η \\ λ"),
        "@TABLE3@": markdown(third.pivot_table(index="batch_size", columns="wd", **pivot), "B \\ λ"),
    }


if __name__ == "__main__":
    for name, text in tables(pd.read_csv(Path(sys.argv[1]) / "results" / "results.csv")).items():
        print(f"{name}\n{text}\n")
