"""How long `analyze` and `predict` take, beside reading the table into pandas and writing it back, as it grows.

    python benchmarks/analysis.py

CPU seconds of one process. The tables are runs of a simulated laboratory (`interplay.analysis.verify.worlds`): decays
by rates, batch sizes, momenta and epochs with three seeds; and rates by batch sizes and training images, no decay.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from common import Report, in_turn

from interplay.analysis.analyze import analyze
from interplay.analysis.conclude import tabulate
from interplay.analysis.observations import from_rows
from interplay.analysis.predict import predict
from interplay.analysis.verify.curves import SHAPES, Slice
from interplay.analysis.verify.worlds import Cell, Methods, PowerLaw, Row, World

SIZES = (200, 1000, 5000, 20_000)
BAR = "3 times pandas and 2 s"
SEEDS = (42, 43, 44)


def with_decay() -> Iterator[Row]:
    """As many rows as asked for: λ by η and B, then at further momenta and epochs."""
    shape = SHAPES["linex"](np.random.default_rng(0))
    world = World(PowerLaw(7, shape, math.log(1e-3), -0.9, 0.8, 0.1, bow=0.2), 7)
    rates, batches = [0.01 * 2**i for i in range(8)], [32 * 2**i for i in range(7)]
    decays = [1e-5 * 2**i for i in range(12)]
    for epochs in itertools.count(100, 20):
        for momentum, batch, lr, decay in itertools.product((0.9, 0.0, 0.8, 0.95, 0.5), batches, rates, decays):
            for row in world.run([Cell(lr, decay, momentum, batch)], SEEDS):
                yield row | {"epochs": str(epochs)}


def without_decay() -> Iterator[Row]:
    """Rates by batch sizes and training images; λ = 0 everywhere, lr* ∝ B^½."""
    rng = np.random.default_rng(0)
    shape = SHAPES["linex"](rng)
    for images in itertools.count(1000, 500):
        for batch in (32 * 2**i for i in range(7)):
            best = math.log(0.05) + 0.5 * math.log(batch / 128) + 0.1 * rng.standard_normal()
            top = 70 + 3 * math.log(images / 1000)
            world = World(Methods((("SGDM", Slice(shape, best, top, 0.8, 2.5)),)), images)
            for row in world.run([Cell(0.001 * 2**i, 0.0, 0.9, batch) for i in range(13)], SEEDS):
                yield row | {"train_limit": str(images)}


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds that ``work`` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def through_pandas(text: str) -> None:
    """A table read and written, as every tool does."""
    import pandas as pd

    pd.read_csv(io.StringIO(text)).to_csv(io.StringIO(), index=False)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    args = parser.parse_args()
    report = Report("analysis")
    asked = {"lr": 0.05, "batch_size": 192, "epochs": 100, "momentum": 0.9}
    kinds = (("λ by η, B, μ and E", with_decay, True), ("η by B and training images", without_decay, False))
    through_pandas("a\n1\n")  # its import is no part of the reading
    for title, generate, decays in kinds:
        table, last = [], 0.0
        for size in args.sizes:
            rows = list(itertools.islice(generate(), size))
            file = io.StringIO()
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
            text = file.getvalue()

            def read(text: str = text) -> object:
                return from_rows(list(csv.DictReader(io.StringIO(text))), "table")

            ways = {
                "pandas": lambda text=text: cpu(lambda: through_pandas(text)),
                "analyze": lambda read=read: cpu(lambda: analyze([read()])),
            }
            if decays and size >= 1000:
                ways["predict"] = lambda read=read: cpu(lambda: predict(tabulate([read()])[0], "weight_decay", asked))
            found = in_turn(ways, args.repeats)
            bar = 3 * found["pandas"] + 2
            times = [f"{found[name]:.2f}" if name in found else "" for name in ("pandas", "analyze", "predict")]
            growth = f"{found['analyze'] / last:.1f}" if last else ""
            table.append([f"{size:,}", *times, f"{found['analyze'] / bar:.2f}", growth])
            last = found["analyze"]
        report.table(
            f"{title}: CPU seconds, median of {args.repeats} rounds",
            ["rows", "pandas", "analyze", "predict", f"analyze : {BAR}", "times the row above"],
            table,
        )
    report.say()
    report.say(f"  1,000 rows are to be analysed within {BAR}: a ratio of 1 at most")
    report.save()


if __name__ == "__main__":
    main()
