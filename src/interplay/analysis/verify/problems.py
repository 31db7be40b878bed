"""The engine put to problems whose answer is known: what must be found, and what is found."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from interplay.analysis.analyze import analyze
from interplay.analysis.cells import Cell
from interplay.analysis.conclude import Analysis
from interplay.analysis.observations import Observation, Observations
from interplay.analysis.verify.closed_forms import NoisyQuadratic, Ridge, TrackingAverage, heavy_ball_rate

SEEDS = 3
METRIC = "final_test_loss"


@dataclass(frozen=True)
class Expectation:
    """One thing that a problem settles: a verdict, or the status of an optimum."""

    what: str
    expected: str
    found: Callable[[Analysis], str]
    truth: float | None = None
    """The exponent, where it is one."""


@dataclass(frozen=True)
class Problem:
    """A family of simulated studies with a known answer."""

    name: str
    simulate: Callable[[np.random.Generator], Observations]
    expectations: tuple[Expectation, ...]


def study(
    settings: Sequence[Cell], risk: Callable[[Cell], float], rng: np.random.Generator, noise: float
) -> Observations:
    """``SEEDS`` repetitions of every setting: the risk in units of its least value, plus Gaussian noise.

    ``noise`` is its SD. A setting of infinite risk has diverged.
    """
    risks = {s: risk(s) for s in settings}
    least = min(value for value in risks.values() if math.isfinite(value))
    runs = [
        Observation(s, str(seed), value / least + noise * rng.standard_normal() if math.isfinite(value) else None)
        for seed in range(SEEDS)
        for s, value in risks.items()
    ]
    return Observations(METRIC, tuple(runs))


def grid(lrs: Sequence[float], decays: Sequence[float], momentum: float, batches: Sequence[int] = (128,)) -> list[Cell]:
    """A product of rates, decays and batch sizes."""
    return [Cell.of(lr, wd, momentum, b) for lr, wd, b in itertools.product(lrs, decays, batches)]


def _verdict(claim: str) -> Callable[[Analysis], str]:
    return lambda analysis: next(str(c.verdict) for c in analysis.claims if c.id == claim)


def _status(of: str) -> Callable[[Analysis], str]:
    """The status that all optima along ``of`` share; a plateau where the interval is one."""

    def found(analysis: Analysis) -> str:
        states = set()
        for optimum in analysis.optima:
            if optimum.of == of:
                states.add("plateau" if optimum.plateau and optimum.interval[0] is not None else str(optimum.status))
        return ", ".join(sorted(states))

    return found


LRS = (0.02, 0.04, 0.08, 0.16, 0.32)
BATCHES = (64, 128, 256, 512)


def _linear(decays: Sequence[float], momentum: float, lr: float) -> list[Cell]:
    return [Cell.of(lr * b / 128, wd, momentum, b) for b, wd in itertools.product(BATCHES, decays)]


def _decays(low: float, high: float) -> tuple[float, ...]:
    """Decays a factor of two apart, as a researcher writes them."""
    count = round(math.log2(high / low)) + 1
    return tuple(float(f"{low * 2**i:.3g}") for i in range(count))


FIXED = 0.16
"""Rate at which the batch size alone is varied on the noisy quadratic."""

_QUADRATIC = NoisyQuadratic(s2=4.0)
_PER_EXAMPLE = TrackingAverage(q=2e-7, drift_per_example=True)
_PER_STEP = TrackingAverage(q=2e-7)


def slope(x: Sequence[float], optimum: Callable[[float], float]) -> float:
    """Exponent of a closed form over the grid at hand, which the law's asymptotic exponent only approaches."""
    return float(np.polyfit(np.log(x), np.log([optimum(value) for value in x]), 1)[0])


def _least(lr: float, batch_size: float, momentum: float) -> float:
    """The exact minimiser of the quadratic's risk, of which the closed form is the limit of small η."""
    found = optimize.minimize_scalar(
        lambda log_wd: _QUADRATIC.risk(lr, math.exp(log_wd), batch_size, momentum), bounds=(-12, 2), method="bounded"
    )
    return math.exp(float(found.x))


def noisy_quadratic(rng: np.random.Generator) -> Observations:
    """λ* grows with η and falls with B: claims 2 and 3 must be refuted.

    The fixed rate is a high one: the minimum is flat where η/B is small, and a plateau wider than the shift decides
    nothing.
    """

    def risk(s: Cell) -> float:
        return _QUADRATIC.risk(s.lr, s.weight_decay, s.batch_size, s.momentum)

    decays = _decays(0.0002, 0.2)
    settings = [
        *grid(LRS, decays, 0.9),
        *_linear(decays, 0.9, 0.08),
        *grid((FIXED,), decays, 0.9, BATCHES),
    ]
    return study(list(dict.fromkeys(settings)), risk, rng, 0.0008)


def tracking(drift_per_example: bool) -> Callable[[np.random.Generator], Observations]:
    """λ* ∝ 1/η exactly; the exponent of B is 1 with drift per example and ½ with drift per step."""

    def simulate(rng: np.random.Generator) -> Observations:
        problem = _PER_EXAMPLE if drift_per_example else _PER_STEP
        settings = [
            *grid(LRS, _decays(0.005, 2.6), 0.0),
            *grid((0.08,), _decays(0.01, 1.3), 0.0, BATCHES),
        ]
        return study(
            list(dict.fromkeys(settings)), lambda s: problem.risk(s.lr, s.weight_decay, s.batch_size), rng, 0.005
        )

    return simulate


def ridge_converged(rng: np.random.Generator) -> Observations:
    """λ* is the same at every η and B: an exponent of zero."""
    problem = Ridge()
    settings = [*grid(LRS, _decays(0.0006, 0.31), 0.9), *grid((0.08,), _decays(0.0006, 0.31), 0.9, BATCHES)]
    return study(list(dict.fromkeys(settings)), lambda s: problem.risk(s.lr, s.weight_decay, 1e5), rng, 0.0005)


def ridge_short(noise: float) -> Callable[[np.random.Generator], Observations]:
    """Stopped early the best decay is none: censored everywhere, and level below where the noise hides the slope."""

    def simulate(rng: np.random.Generator) -> Observations:
        problem = Ridge()
        return study(grid(LRS, _decays(0.0006, 0.31), 0.9), lambda s: problem.risk(s.lr, s.weight_decay, 4), rng, noise)

    return simulate


def plateau(rng: np.random.Generator) -> Observations:
    """Heavy ball converges at the same rate √μ over a whole interval of η."""
    settings = [Cell.of(lr, 0.0, 0.9, 128) for lr in _decays(0.005, 5.2)]
    return study(settings, lambda s: heavy_ball_rate(s.lr, 0.9, 0.2, 1.0), rng, 0.002)


PROBLEMS = (
    Problem(
        "noisy quadratic",
        noisy_quadratic,
        (
            Expectation(
                "inverse.profile", "refuted", _verdict("inverse.profile"), slope(LRS, lambda x: _least(x, 128, 0.9))
            ),
            Expectation("batch.linear_rule", "refuted", _verdict("batch.linear_rule"), 0.0),
            Expectation(
                "batch.fixed_lr", "refuted", _verdict("batch.fixed_lr"), slope(BATCHES, lambda b: _least(FIXED, b, 0.9))
            ),
        ),
    ),
    Problem(
        "tracking average, drift per example",
        tracking(True),
        (
            Expectation("inverse.profile", "supported", _verdict("inverse.profile"), -1.0),
            Expectation(
                "batch.fixed_lr",
                "supported",
                _verdict("batch.fixed_lr"),
                slope(BATCHES, lambda b: _PER_EXAMPLE.optimum(0.08, b)),
            ),
        ),
    ),
    Problem(
        "tracking average, drift per step",
        tracking(False),
        (
            Expectation("inverse.profile", "supported", _verdict("inverse.profile"), -1.0),
            Expectation(
                "batch.fixed_lr",
                "refuted",
                _verdict("batch.fixed_lr"),
                slope(BATCHES, lambda b: _PER_STEP.optimum(0.08, b)),
            ),
        ),
    ),
    Problem(
        "ridge, converged",
        ridge_converged,
        (
            Expectation("inverse.profile", "refuted", _verdict("inverse.profile"), 0.0),
            Expectation("batch.fixed_lr", "refuted", _verdict("batch.fixed_lr"), 0.0),
        ),
    ),
    *(
        Problem(
            name,
            ridge_short(noise),
            (
                Expectation("optima of λ", "open below", _status("weight_decay")),
                Expectation("inverse.profile", "inconclusive", _verdict("inverse.profile")),
            ),
        )
        for name, noise in (("ridge, short runs", 0.0001), ("ridge, short runs with more noise", 0.002))
    ),
    Problem("plateau of heavy ball", plateau, (Expectation("optimum of η", "plateau", _status("lr")),)),
)


@dataclass(frozen=True)
class Line:
    """Expected and found, for one thing that a problem settles, over ``studies`` simulated studies."""

    problem: str
    what: str
    expected: str
    found: dict[str, int]
    studies: int
    truth: float | None = None
    mean: float | None = None
    """Mean estimate of the exponent."""
    covered: float | None = None
    """Share of 90 % intervals that hold the truth."""

    @property
    def false(self) -> int:
        """Studies with the opposite of the truth; inconclusive is not false."""
        return sum(n for word, n in self.found.items() if word not in (self.expected, "inconclusive"))


def verify(studies: int = 20, seed: int = 0) -> list[Line]:
    """Simulate each problem ``studies`` times and compare what the engine says with the truth."""
    lines = []
    for problem in PROBLEMS:
        rng = np.random.default_rng([seed, len(problem.name)])
        analyses = [analyze([problem.simulate(rng)], seed=index) for index in range(studies)]
        for each in problem.expectations:
            words = [each.found(analysis) for analysis in analyses]
            counts = {word: words.count(word) for word in dict.fromkeys(words)}
            mean, covered = None, None
            if each.truth is not None:
                claims = [next(c for c in a.claims if c.id == each.what) for a in analyses]
                known = [c for c in claims if c.estimate is not None]
                if known:
                    mean = float(np.mean([c.estimate for c in known if c.estimate is not None]))
                    held = [(c.interval[0] or -9) <= each.truth <= (c.interval[1] or 9) for c in known]
                    covered = sum(held) / len(held)
            lines.append(Line(problem.name, each.what, each.expected, counts, studies, each.truth, mean, covered))
    return lines
