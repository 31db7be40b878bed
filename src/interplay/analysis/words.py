"""An analysis in words: tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interplay.analysis import phrases
from interplay.analysis.cells import VARIED
from interplay.analysis.compare import Comparison, Pair
from interplay.analysis.conclude import Agreement, Analysis, Measured
from interplay.analysis.laws import Joint
from interplay.analysis.layout import Layout
from interplay.analysis.noise import Noise
from interplay.analysis.optimizers import Beside
from interplay.analysis.optimum import Optimum
from interplay.analysis.predict import Prediction
from interplay.analysis.scores import Score
from interplay.analysis.theories import SYMBOLS
from interplay.analysis.verdict import Verdict
from interplay.analysis.verify.problems import Line

WIDE = 120
"""Characters from which estimate and interval have columns of their own; below they begin the reason."""

OPTIMA = 40
"""Optima that the terminal lists."""

OWN = "* stated by the study itself"


def report(analysis: Analysis, width: int | None = None, colour: bool | None = None) -> str:
    """Verdicts first, then the optima they rest on; ``width`` and ``colour`` as of `Layout`."""
    layout = Layout(width, colour)
    repetitions = phrases.count(len(analysis.repetitions), "repetition")
    lines = layout.paragraph(f"{phrases.count(analysis.runs, 'run')} in {repetitions}, metric {analysis.metric}")
    for words in (*duplicates(analysis), *analysis.notes):
        lines += layout.paragraph(f"note: {words}")
    for words in noise_words(analysis):
        lines += layout.paragraph(words)
    lines += ["", *_claims(analysis.claims, layout)]
    if analysis.exponents:
        heads = ("best", "as a power of", "exponent", "90 % interval", "curves")
        lines += ["", "exponents of which no claim speaks"]
        lines += layout.table(heads, map(exponent_words, analysis.exponents), prose=1)
    if analysis.joint is not None:
        first, *rest = joint_lines(analysis.joint, analysis)
        lines += ["", *layout.paragraph(first)]
        lines += [line for words in rest for line in layout.paragraph(words, 2)]
    lines += _optima(analysis.optima, layout)
    if analysis.agreement:
        heads = ("variable", "factor", "least", "greatest", "label")
        lines += ["", *layout.paragraph(f"{agreement_words(analysis.agreement)}:")]
        lines += layout.table(heads, (_agreement(each) for each in analysis.agreement))
    for each in analysis.beside:
        lines += ["", *_beside(each, analysis.metric, layout)]
    return "\n".join(lines)


def duplicates(analysis: Analysis) -> list[str]:
    """Repetitions that are copies, a line each."""
    return [
        f"{left_out} repeats {kept} to the last digit in {phrases.count(runs, 'run')} and is counted once"
        for kept, left_out, runs in analysis.duplicates
    ]


def noise_words(analysis: Analysis) -> list[str]:
    """How much one run scatters, a line for each network; or that nothing tells it."""
    named = analysis.named_noises()
    if not named:
        return ["note: nothing tells the noise, so there are no intervals and nothing is decided: run a second seed"]
    unit = _unit(analysis.metric)
    return [f"noise{of}: {_noise(noise, unit)}" for of, noise in named]


def _noise(noise: Noise, unit: str) -> str:
    about = " about the level of its seed" if noise.of_seeds else ""
    best = f"one run scatters by {noise.sd_best:.3g} {unit} (SD){about} at the best level"
    if noise.residual:
        return f"{best}; from residuals of smooth curves, since nothing was repeated"
    found = f"{best}, by {noise.sd_worst:.3g} at the worst; {noise.dof} degrees of freedom"
    if noise.of_seeds:
        found += f"; seeds differ by {noise.of_seeds:.3g} {unit} in all cells alike, which is taken off"
    return found


def exponent_words(each: Measured) -> tuple[str, ...]:
    """A row about an exponent without a claim: optimum, axis, estimate, interval, curves."""
    ends = phrases.interval(each.interval, "z.2f")
    return each.optimum, each.along, f"{each.estimate:z.2f}", ends, str(each.curves)


def joint_lines(joint: Joint, analysis: Analysis | None = None) -> list[str]:
    """The axes that were varied, and the theories inside and outside the region of their exponents.

    An exponent that a claim or a row of `Analysis.exponents` states has its number there and none here.
    """
    axes = ", ".join(SYMBOLS[name] for name in joint.axes)
    lines = [f"λ* over {axes} together ({joint.inside} of {joint.settings} settings have their optimum inside)"]
    stated: set[tuple[str, str]] = set()
    if analysis is not None:
        stated = {pair for verdict in analysis.claims if (pair := phrases.spoken(verdict)) is not None}
        stated |= {(each.optimum, each.along) for each in analysis.exponents}
    for name in joint.axes:
        if ("weight_decay", name) in stated:
            continue
        if name in joint.exponents:
            value, ends = joint.exponents[name]
            interval = phrases.interval(ends, "z.2f")
            lines.append(f"exponent of {SYMBOLS[name]}: {value:z.2f}, 90 % interval {interval}")
        else:
            lines.append(f"exponent of {SYMBOLS[name]}: not determined, since it was never varied by itself")
    lines.append(f"theories inside the 95 % confidence region: {phrases.listed(joint.held)}")
    lines.append(f"theories outside: {phrases.listed(joint.excluded)}")
    return lines


def agreement_words(found: Sequence[Agreement]) -> str:
    """What the table of variables is about."""
    return f"on which variable the {found[0].optima} optima fall together, the closest first (factor: one SD)"


def _agreement(each: Agreement) -> tuple[str, ...]:
    return (each.variable, f"{each.factor:.2f}", f"{each.least:.3g}", f"{each.greatest:.3g}", each.label)


# -- claims -----------------------------------------------------------------------------------------------------------


def _claims(claims: Sequence[Verdict], layout: Layout) -> list[str]:
    asked = [claim for claim in claims if claim.verdict != "not asked"]
    lines: list[str] = []
    if asked and layout.width >= WIDE:
        wide = ((*_name(each), phrases.estimate(each), phrases.estimate_interval(each), _why(each)) for each in asked)
        lines += layout.table(("claim", "verdict", "estimate", "90 % interval", "reason"), wide)
    elif asked:
        narrow = ((*_name(each), "\n".join(filter(None, (phrases.result(each), _why(each))))) for each in asked)
        lines += layout.table(("claim", "verdict", "reason"), narrow)
    if any(claim.own for claim in asked):
        lines += layout.paragraph(OWN)
    left = phrases.not_asked(claims)
    return [*lines, *layout.paragraph(left)] if left else lines


def _name(claim: Verdict) -> tuple[str, str]:
    return f"* {claim.id}" if claim.own else claim.id, claim.verdict


def _why(claim: Verdict) -> str:
    return "\n".join(filter(None, (claim.other_metric, claim.reason, phrases.plan(claim))))


# -- optima -----------------------------------------------------------------------------------------------------------


def grouped(optima: Sequence[Optimum]) -> list[tuple[str, dict[str, Any], list[str], list[Optimum]]]:
    """Optima by the knob that they are of: what all settings share, the knobs that tell them apart, and the optima."""
    found = []
    for of in dict.fromkeys(each.of for each in optima):
        group = [each for each in optima if each.of == of]
        names = list(dict.fromkeys(name for each in group for name in each.given))
        told = {name: [each.given for each in group if name in each.given] for name in names}
        values = {name: {str(given[name]) for given in told[name]} for name in names}
        if len(told.get("warmup_epochs", group)) < len(group):
            values["warmup_epochs"].add("")  # where it is not told there is none
        shared = [name for name in names if len(values[name]) == 1 and (name != "method" or len(group) == 1)]
        common = {name: told[name][0][name] for name in shared}
        apart = [name for name in names if name not in shared]
        group.sort(key=lambda each: [_order(each.given.get(name)) for name in apart])
        found.append((of, common, apart, group))
    return found


def _order(value: object) -> tuple[int, float, str]:
    if value is None:
        return 2, 0.0, ""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _optima(optima: Sequence[Optimum], layout: Layout) -> list[str]:
    ranked = sorted(optima, key=lambda each: (not each.inside, each.interval == (None, None)))
    kept = {id(each) for each in ranked[:OPTIMA]}
    lines: list[str] = []
    for of, common, apart, group in grouped(optima):
        rows = [
            (
                *phrases.knob_words(each.given, apart),
                phrases.number(each.estimate),
                phrases.interval(each.interval),
                phrases.status(each),
            )
            for each in group
            if id(each) in kept
        ]
        if rows:
            words = zip(common, phrases.knob_words(common, common), strict=True)
            at = ", ".join(f"{name} {word}" for name, word in words)
            lines += ["", *layout.paragraph(f"best {of}" + (f" at {at}" if at else ""))]
            lines += layout.table((*apart, f"best {of}", "90 % interval", "status"), rows)
    if len(optima) > OPTIMA:
        inside = sum(each.inside for each in ranked[OPTIMA:])
        more = f"and {len(optima) - OPTIMA} more optima, {inside} of them inside: --json has all"
        lines += ["", *layout.paragraph(more)]
    return lines


# -- predictions and comparisons --------------------------------------------------------------------------------------


def prediction(found: Prediction) -> str:
    """What to use, from which rule, how well such rules did on settings they had not seen, and what is extrapolated."""
    layout = Layout()
    low, high = found.interval
    at = ", ".join(f"{SYMBOLS.get(name, 'μ')} {value:g}" for name, value in found.at.items())
    lines = [
        f"{SYMBOLS[found.of]}* = {found.estimate:.3g}, 90 % interval {low:.3g} to {high:.3g}, at {at}",
        f"rule: {found.rule}, {found.formula}; from {found.source}",
    ]
    lines += [f"EXTRAPOLATED: {words}" for words in found.outside]
    lines += [f"note: {note}" for note in found.notes]
    lines = [line for words in lines for line in layout.paragraph(words)]
    lines += ["", f"leave-one-setting-out error ({found.metric})"]
    header = ("rule", "", "says", "off by a factor", f"mean loss, {_unit(found.metric)}", "worst")
    lines += layout.table(header, [_score(found.chosen), *map(_score, found.scores)], prose=0)
    if any(score.at_least for score in found.scores):
        words = "zero was not measured at every setting: its loss is at least what the least decay loses"
        lines += layout.paragraph(words)
    return "\n".join(lines)


def _score(score: Score) -> tuple[str, ...]:
    factor = "" if score.factor is None else f"{score.factor:.2f}"
    least = "≥ " if score.at_least else ""
    kind = "baseline" if score.baseline else ""
    says = "" if score.says is None else f"{score.says:.3g}"
    return score.rule, kind, says, factor, f"{least}{score.loss:.2f}", f"{least}{score.worst:.2f}"


def _beside(each: Beside, metric: str, layout: Layout) -> list[str]:
    words = f"{each.optimizer} beside {each.against}: {phrases.count(each.cells, 'cell')} measured with both"
    if each.mean is not None and each.interval90 is not None:
        low, high = each.interval90
        less = f"{each.optimizer} less {each.against} {each.mean:+.2f} {_unit(metric)}"
        words += f"; {less}, 90 % interval {low:+.2f} to {high:+.2f}"
    elif each.cells:
        words += "; no repetitions, so no interval"
    if not each.claims:
        return [*layout.paragraph(words), "  no claim is decided for either"]
    return [*layout.paragraph(words), *layout.table(("claim", each.optimizer, each.against), each.claims, prose=0)]


def comparison(found: Comparison) -> str:
    """What two groups of runs have in common, how far they differ, and every cell that both have."""
    layout, unit = Layout(), _unit(found.metric)
    ours, theirs = found.only
    lines = [f"{len(found.pairs)} cells measured by both, {ours} by us only, {theirs} by them only; {found.metric}"]
    lines += [f"note: {note}" for note in found.notes]
    if found.mean is not None and found.interval90 is not None:
        low, high = found.interval90
        ends = f"{low:+.2f} to {high:+.2f}"
        lines.append(f"mean difference, ours less theirs: {found.mean:+.2f} {unit}, 90 % interval {ends}")
    if found.beyond_noise is not None and found.p is not None:
        spread = f"SD {found.beyond_noise:.2f} {unit} (p that there are none: {found.p:.2g})"
        lines.append(f"differences beyond the noise: {spread}")
    if found.order is not None:
        lines.append(f"order of the cells: Spearman's correlation {found.order:.3f}")
    lines = [line for words in lines for line in layout.paragraph(words)]
    asked = [row for row in found.claims if set(row[1:]) != {"not asked"}]
    if asked:
        lines += ["", *layout.table(("claim", "ours", "theirs"), asked, prose=0)]
    if left := [name for name, *words in found.claims if set(words) == {"not asked"}]:
        lines += layout.paragraph(f"not asked of either (too little was varied for it): {', '.join(left)}")
    heads = ("lr", "wd", "momentum", "batch", "ours", "theirs", "difference", "error", "in errors")
    lines += ["", *layout.table(heads, map(_pair, found.pairs))]
    return "\n".join(lines)


def _pair(pair: Pair) -> tuple[str, ...]:
    s = pair.cell
    sides = (f"{mean:.2f} ({runs})" for mean, runs in zip((pair.ours, pair.theirs), pair.runs, strict=True))
    error = "" if pair.error is None else f"{pair.error:.2f}"
    z = "" if pair.z is None else f"{pair.z:+.1f}"
    knobs = phrases.knob_words({name: s.get(name) for name in VARIED}, VARIED[:4])
    return (*knobs, *sides, f"{pair.difference:+.2f}", error, z)


def verification(lines: Sequence[Line]) -> str:
    """Expected and found of the problems with a known answer."""
    header = ("problem", "of", "expected", "found", "true, mean", "held")
    layout = Layout()
    legend = "true, mean: the exponent and the mean of its estimates; held: share of 90 % intervals that hold it"
    return "\n".join([*layout.table(header, map(_line, lines), prose=0), *layout.paragraph(legend)])


def _line(line: Line) -> tuple[str, ...]:
    found = ", ".join(f"{word} {count}" for word, count in line.found.items())
    exponents = "" if line.truth is None or line.mean is None else f"{line.truth:.2f}, {line.mean:.2f}"
    covered = "" if line.covered is None else f"{100 * line.covered:.0f} %"
    return line.problem, line.what, line.expected, found, exponents, covered


def _unit(metric: str) -> str:
    return "points" if "acc" in metric else "nats"
