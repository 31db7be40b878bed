"""Claims: statements about optima that runs can support or refute, as data.

A claim says one of three things.

- The optimum of one knob moves as a power of another: ``Claim(optimum="lr", along="batch_size", exponent=0.5)``.
- The optimum of a knob is higher with one method than with another:
  ``Claim(optimum="lr", first={"momentum": 0}, second={"momentum": 0.9})``.
- Only the product of two knobs matters: ``Claim(product=("lr", "weight_decay"))``.

Those of the programme have names; a study file states others as ``[[claim]]`` with the same words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal

from interplay.errors import SpecError, nearest
from interplay.spec import knob_names
from interplay.study.names import ALIASES
from interplay.text import one_line, shown

Kind = Literal["exponent", "ordering", "direction", "sufficiency"]

JUDGES: Mapping[Kind, str] = {
    "exponent": "interplay.analysis.claims.exponent:judged",
    "ordering": "interplay.analysis.claims.ordering:judged",
    "direction": "interplay.analysis.claims.plane:direction",
    "sufficiency": "interplay.analysis.claims.plane:sufficiency",
}
"""What judges each kind of claim: ``module:function`` of a claim and a table, imported when it is asked for."""

BAND = 0.2
"""Half-width of the band around a stated exponent, unless a claim says otherwise."""

MARGIN = 0.1
"""Optima that lie nearer than this share of each other are the same."""

SUMS = ("sum_of_rates", "steps")
"""What an optimum may be a power of, besides knobs: quantities that follow from them."""


OF_OPTIMISERS = ("momentum", "dampening", "nesterov", "beta2", "eps")
"""Knobs that not every optimiser has, or that are not the same in each."""


@dataclass(frozen=True)
class Claim:
    """One statement. Knobs are named as in `RunSpec`; a script of one's own may have others.

    Attributes:
        optimum: the knob whose best value is spoken of.
        along: what it is a power of, by ``exponent``, within ``band``. ``tied`` names knobs that move with it, as
            powers: ``{"lr": 1}`` for η ∝ B. All others are held.
        first, second: knobs that select two methods; a knob may be a number, a word, or ``"positive"``. The optimum of
            the first is the higher one, by more than ``margin``.
        product: two knobs of which only the product matters.
        id: its name; made from the rest where it is not given.
        question: in plain words; made likewise.

    Raises:
        SpecError: a statement that is none of the three, or an impossible number.
    """

    optimum: str = ""
    along: str = ""
    exponent: float | None = None
    band: float = BAND
    tied: Mapping[str, float] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)
    second: Mapping[str, Any] = field(default_factory=dict)
    margin: float = MARGIN
    product: tuple[str, ...] = ()
    direction: bool = False
    """Of a product: whether the direction is asked for, rather than whether the product is enough."""
    id: str = ""
    question: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "product", tuple(self.product))
        self._check()
        object.__setattr__(self, "id", one_line("the id of a claim", self.id or self._id()))
        object.__setattr__(self, "question", one_line("the question of a claim", self.question or self._question()))

    @property
    def kind(self) -> Kind:
        """Which of the statements it is."""
        if self.product:
            return "direction" if self.direction else "sufficiency"
        return "exponent" if self.along else "ordering"

    @property
    def knobs(self) -> tuple[str, ...]:
        """What must have been varied for it to be asked."""
        return self.product or tuple(filter(None, (self.optimum, self.along)))

    @property
    def named(self) -> frozenset[str]:
        """All knobs that it speaks of: runs that differ in others speak to it apart from each other.

        Of two optimisers each has knobs that the other lacks, or that mean something else there.
        """
        names = {*self.knobs, *self.tied, *self.first, *self.second} - set(SUMS)
        return frozenset(names | set(OF_OPTIMISERS) if "optimizer" in {*self.first, *self.second} else names)

    def to_table(self) -> dict[str, Any]:
        """As a study file states it: the inverse of `from_table`."""
        stated = {f.name: getattr(self, f.name) for f in fields(self)}
        table = {f.name: stated[f.name] for f in fields(self) if stated[f.name] != _default(f)}
        plain = {name: dict(value) for name, value in table.items() if isinstance(value, Mapping)}
        return {**table, **plain, **({"product": list(self.product)} if self.product else {})}

    def repeats(self, other: Claim) -> bool:
        """Whether it states what ``other`` does, whatever their names."""
        mine, theirs = ({**each.to_table(), "product": sorted(each.product)} for each in (self, other))
        return all(mine.get(name) == theirs.get(name) for name in {*mine, *theirs} - {"id", "question"})

    def __hash__(self) -> int:
        return hash(self.id)

    def _check(self) -> None:
        stated = [bool(self.product), bool(self.along), bool(self.first or self.second)]
        if sum(stated) != 1 or (self.product and self.optimum):
            raise SpecError(
                "a claim states one thing: optimum, along and exponent; optimum, first and second; or product"
            )
        for name, value in (("band", self.band), ("margin", self.margin), *self.tied.items()):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise SpecError(f"{name} of a claim must be a number, not {shown(value)}")
        if not self.band > 0:
            raise SpecError(f"band of a claim must be greater than 0, not {self.band:g}")
        if not 0 <= self.margin < 10:
            raise SpecError(f"margin of a claim must be 0 or a small positive number, not {shown(self.margin)}")
        if not isinstance(self.direction, bool):
            raise SpecError(f"direction of a claim must be true or false, not {shown(self.direction)}")
        if self.product:
            if not all(isinstance(name, str) for name in self.product) or len(set(self.product)) != 2:
                raise SpecError(f"the product of a claim names two knobs, not {shown(self.product)}")
            return
        if self.direction:
            raise SpecError("direction is asked of a product of two knobs")
        if not self.optimum:
            raise SpecError('a claim needs optimum, the knob whose best value it speaks of, such as "lr"')
        if self.along:
            if self.exponent is None:
                raise SpecError(f"a claim about {self.optimum} along {self.along} needs an exponent")
            if self.along == self.optimum:
                raise SpecError(f"a claim cannot be about {self.optimum} along itself")
            value = self.exponent
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise SpecError(f"exponent of a claim must be a number, not {shown(value)}")
        elif not (self.first and self.second):
            raise SpecError("a claim about two methods needs first and second, each a table of knobs")

    def _id(self) -> str:
        if self.product:
            return f"{'*'.join(self.product)}.{'direction' if self.direction else 'sufficiency'}"
        if self.along:
            tied = "".join(f",{name}^{power:g}" for name, power in self.tied.items())
            return f"{self.optimum}~{self.along}{tied}^{self.exponent:g}"
        return f"{self.optimum}: {_method(self.first)} > {_method(self.second)}"

    def _question(self) -> str:
        if self.product:
            return f"Does only the product of {' and '.join(self.product)} matter?"
        if self.along:
            tied = f", with {', '.join(f'{n} ∝ {self.along}^{p:g}' for n, p in self.tied.items())}" if self.tied else ""
            return f"Is the best {self.optimum} ∝ {self.along}^{self.exponent:g}{tied}?"
        return f"Is the best {self.optimum} higher with {_method(self.first)} than with {_method(self.second)}?"

    @staticmethod
    def from_table(table: Any, where: str, *, own_knobs: bool = False) -> Claim:
        """A claim as a study file states it.

        Args:
            table: the content of ``[[claim]]``.
            where: begins what is said of it.
            own_knobs: whether knobs may have names of one's own, as those of a table or of a training script do. A
                name that is nearly a standard one is refused all the same.

        Raises:
            SpecError: as the class, or a key or knob that is not known, with the nearest one; begins with ``where``.
        """
        if not isinstance(table, Mapping):
            raise SpecError(f"{where} must be a table, not {shown(table)}")
        known = [f.name for f in fields(Claim)]
        for key in table:
            if key not in known:
                raise SpecError(f"{where}: unknown key {shown(key)}; {nearest(key, known)}")
        try:
            for name in ("tied", "first", "second"):
                if not isinstance(table.get(name, {}), Mapping):
                    raise SpecError(f"{name} must be a table of knobs, not {shown(table[name])}")
            for name in ("optimum", "along", "id", "question"):
                if not isinstance(table.get(name, ""), str):
                    raise SpecError(f"{name} must be a word, not {shown(table[name])}")
            if not isinstance(table.get("product", []), list | tuple):
                raise SpecError(f"product must be a list of two knobs, not {shown(table['product'])}")
            claim = Claim(**_spelt_out(table))
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from error
        names = (*knob_names(), *SUMS)
        for name in (*claim.knobs, *claim.tied, *claim.first, *claim.second):
            if name not in names and not (own_knobs and not get_close_matches(str(name), names, 1, 0.8)):
                raise SpecError(f"{where}: unknown knob {shown(name)}; {nearest(str(name), names)}")
        return claim


def _spelt_out(table: Mapping[str, Any]) -> dict[str, Any]:
    """``table`` with the knobs under their full names: a study file may say wd for weight_decay."""
    full = dict(table)
    for name in ("optimum", "along"):
        if name in full:
            full[name] = ALIASES.get(full[name], full[name])
    for name in ("tied", "first", "second"):
        if name in full:
            full[name] = {ALIASES.get(knob, knob): value for knob, value in full[name].items()}
    if "product" in full:
        full["product"] = tuple(ALIASES.get(knob, knob) if isinstance(knob, str) else knob for knob in full["product"])
    return full


def _default(of: Field[Any]) -> Any:
    return of.default if of.default is not MISSING else {}


def _method(knobs: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {value}" for name, value in knobs.items())


_SGD, _SGD_WD, _SGDM_WD = (
    {"momentum": 0.0, "weight_decay": 0.0},
    {"momentum": 0.0, "weight_decay": "positive"},
    {"momentum": "positive", "weight_decay": "positive"},
)

PROGRAMME = (
    Claim(
        "lr", first=_SGD, second=_SGD_WD, id="ordering.sgd>sgd_wd",
        question="Is the best learning rate of plain SGD above that of SGD with weight decay?",
    ),
    Claim(
        "lr", first=_SGD_WD, second=_SGDM_WD, id="ordering.sgd_wd>sgdm_wd",
        question="Is the best learning rate of SGD with weight decay above that of SGD with momentum and weight decay?",
    ),
    Claim(
        product=("lr", "weight_decay"), direction=True, id="inverse.direction",
        question="Do equally good settings lie along ηλ = const?",
    ),
    Claim(
        "weight_decay", "lr", -1.0, id="inverse.profile",
        question="Is the best weight decay proportional to 1/η?",
    ),
    Claim(
        product=("lr", "weight_decay"), id="inverse.sufficiency",
        question="Does the product ηλ alone decide how well a run does?",
    ),
    Claim(
        "weight_decay", "batch_size", 1.0, tied={"lr": 1.0}, id="batch.linear_rule",
        question="With η ∝ B, is the best weight decay proportional to the batch size?",
    ),
    Claim(
        "weight_decay", "batch_size", 1.0, id="batch.fixed_lr",
        question="At a fixed learning rate, is the best weight decay proportional to the batch size?",
    ),
    Claim(
        "weight_decay", "batch_size", 1.0, tied={"epochs": 1.0}, id="batch.step_matched",
        question="With the number of steps held, is the best weight decay proportional to the batch size?",
    ),
    Claim(
        "weight_decay", "sum_of_rates", -1.0, tied={}, id="schedule.sum_of_rates",
        question="Across schedules, is the best weight decay proportional to 1/S, S the sum of learning rates?",
    ),
    Claim(
        "weight_decay", "epochs", -1.0, id="duration.horizon",
        question="Is the best weight decay proportional to 1/T, T the length of training?",
    ),
)  # fmt: skip
"""The claims of the programme. Holm's correction runs over those of `PRIMARY`."""

PRIMARY = ("ordering.sgd>sgd_wd", "ordering.sgd_wd>sgdm_wd", "inverse.profile", "batch.linear_rule")

CLAIMS = tuple(claim.id for claim in PROGRAMME)


def known_claims(claims: Any) -> tuple[str | Claim, ...]:
    """``claims`` as a tuple: identifiers of the programme, and claims of one's own.

    Raises:
        SpecError: one that the analysis does not know, with the nearest one, or two of the same id.
    """
    if not isinstance(claims, list | tuple):
        raise SpecError(f"claims must be a list such as ['inverse.profile'], not {shown(claims)}")
    found: dict[str, str | Claim] = {}
    for claim in claims:
        if not isinstance(claim, Claim) and claim not in CLAIMS:
            hint = nearest(claim if isinstance(claim, str) else "", CLAIMS)
            raise SpecError(f"unknown claim {shown(claim)}; {hint}, or [[claim]] for one of your own")
        name = claim.id if isinstance(claim, Claim) else claim
        if found.setdefault(name, claim) != claim or (isinstance(claim, Claim) and name in CLAIMS):
            raise SpecError(f"two claims have the id {shown(name)}: give one of them another id")
    return tuple(found.values())


def resolved(claims: Iterable[str | Claim]) -> tuple[Claim, ...]:
    """Each claim as `Claim`, those of the programme by their identifier; raises `KeyError` for an unknown one."""
    programme = {claim.id: claim for claim in PROGRAMME}
    return tuple(claim if isinstance(claim, Claim) else programme[claim] for claim in claims)
