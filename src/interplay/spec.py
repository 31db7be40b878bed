"""The specification of one run: every knob that can change a number, and nothing else.

Notation used throughout the lab (SI for this field): lr is the *peak* learning rate η; weight decay is λ; momentum μ
follows torch's convention ``v = μ v + g`` (not ``v = μ v + (1-μ) g``, which differs by a factor 1-μ in η).

Operational settings - device, number of threads, paths, worker counts, trackers, instruments, the speed path -
are left out on purpose: they say where and how fast, not what is computed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal, cast, get_args, get_type_hints

from interplay import by_path, knobs
from interplay.dataset_facts import DATASETS, AugmentName
from interplay.errors import SpecError, nearest
from interplay.knobs import OptimizerName, ScheduleName, knob
from interplay.network_facts import NETWORKS, ModelName
from interplay.text import one_line, shown

SPEC_SCHEMA = 1
"""Version of the set of knobs below; part of every run_id.

A knob that belongs to some models or optimisers only (``knob(..., model=...)``) exists for those alone: elsewhere it
is refused, stored nowhere and part of no identity. Adding one leaves every earlier run its name and its record.
"""


@dataclass(frozen=True)
class RunSpec:
    """One run, fully specified. Frozen and validated: an impossible value raises `SpecError` on construction.

    Two specs that are equal describe the same computation, and ``run_id`` names it.
    """

    dataset: str = knob(
        "cifar100", "cifar10, cifar100, digits, an .npz file; or your own: module:callable, torchvision:NAME, hf:NAME"
    )
    fingerprint: str = knob("", "identity of the data; filled in from the published checksums or from the file")
    train_limit: int | None = knob(None, "train on this many images only, drawn by seed (default: all)")
    val_split: int = knob(0, "hold out this many training images for validation, drawn by seed")
    label_noise: float = knob(0.0, "fraction of training labels replaced by another class, drawn by seed")
    augment: AugmentName | None = knob(None, "training augmentation (default: crop_flip for CIFAR, else none)")
    model: ModelName | str = knob(
        "resnet18", "network to train; or your own: timm:NAME, torchvision:NAME, module:callable"
    )
    model_args: str = knob("", "its arguments: name=value name=value, or a JSON object", model=by_path.BY_PATH)
    model_code: str = knob("", "version or hash of its code; filled in from the code", model=by_path.BY_PATH)
    widening: int = knob(1, "factor on the channels of every stage", model=knobs.WIDE)
    blocks_per_stage: int = knob(6, "residual blocks in each of the three stages", model=knobs.WIDE)
    hyper_init: Literal["he", "original"] = knob(
        "he",
        "generated kernels start with standard deviation sqrt(2/fan_in), or as large as the public code has them",
        model=knobs.HYPER,
    )
    kernel_decay: float = knob(
        0.0, "decay of the generated kernels, besides that of the stored parameters", model=knobs.HYPER
    )
    normalize_embeddings: bool = knob(False, "give every embedding the length it is drawn with", model=knobs.HYPER)
    optimizer: OptimizerName = knob(
        "sgd",
        "sgd: decay coupled to the gradient, as torch; sgdw: decoupled; sgds: stable weight decay; "
        "adam: coupled, as torch; adamw: decoupled",
    )
    lr: float = knob(0.1, "peak learning rate")
    weight_decay: float = knob(5e-4, "weight decay coefficient")
    momentum: float = knob(0.9, "momentum, torch convention v = momentum*v + g; the beta1 of adam and adamw")
    dampening: float = knob(0.0, "dampening of the gradient in the momentum buffer")
    nesterov: bool = knob(False, "Nesterov momentum")
    beta2: float = knob(0.999, "decay of the mean of squared gradients", optimizer=knobs.ADAM)
    eps: float = knob(1e-8, "added to the root of the mean of squared gradients", optimizer=knobs.ADAM)
    decay_on: Literal["all", "weights"] = knob("all", "decay every parameter, or spare biases and normalisation")
    batch_size: int = knob(128, "images per step; the last short batch of an epoch is kept")
    epochs: int = knob(100, "passes over the training images")
    schedule: ScheduleName = knob("cosine", "shape of the learning rate over the run")
    schedule_every: Literal["epoch", "step"] = knob("epoch", "update the learning rate once an epoch or at every step")
    warmup_epochs: int = knob(0, "epochs of linear warm-up before the schedule starts")
    milestones: tuple[float, ...] = knob((0.5, 0.75), "step schedule: fractions of the run at which the rate drops")
    gamma: float = knob(0.1, "step schedule: factor of each drop")
    precision: Literal["bf16", "fp32"] = knob("bf16", "bf16 autocast over fp32 weights, or fp32 throughout")
    seed: int = knob(42, "seed of subset, label noise, initialisation, order and augmentation")

    def __post_init__(self) -> None:
        for name in knobs.REAL:
            # 12 digits make 0.1*3 and 0.3 the same run; 0.1 + 0.2 style noise would otherwise split it in two.
            self._set(name, float(f"{knobs.number(name, getattr(self, name)):.12g}") + 0.0)  # and -0.0 is 0.0
        for name in knobs.WHOLE:
            self._set(name, self._integer(name))
        if self.train_limit is not None:
            self._set("train_limit", self._integer("train_limit"))
        self._set("milestones", knobs.fractions(self.milestones))
        self._set("model_args", by_path.arguments(self.model_args))
        self._check_choices()
        self._check_ranges()
        self._fill_from_dataset()
        self._check_sizes()

    # -- validation -----------------------------------------------------------------------------------------------

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _integer(self, name: str) -> int:
        value = getattr(self, name)
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            raise SpecError(f"{name} must be a whole number, not {shown(value)}")
        if value > (most := knobs.MOST.get(name, 2**31 - 1)):
            raise SpecError(f"{name} must be at most {most}, not {shown(value)}")
        return int(value)

    def _check_choices(self) -> None:
        for name, allowed in choices().items():
            self._check_choice(name, allowed)
        for name in ("dataset", "fingerprint", "model_code"):
            one_line(name, getattr(self, name))
        if self.dataset not in DATASETS and not self.dataset.endswith(".npz") and self.dataset not in by_path.BY_PATH:
            raise SpecError(
                f"unknown dataset {shown(self.dataset)}; {nearest(self.dataset, DATASETS)}, or the path of an .npz "
                "file, or module:callable"
            )
        for name in ("nesterov", "normalize_embeddings"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name} must be true or false, not {shown(getattr(self, name))}")

    def _check_choice(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if name == "model" and value in by_path.BY_PATH:
            by_path.check(value)
        elif value not in allowed and not (name == "augment" and value is None):
            raise SpecError(
                f"unknown {name} {shown(value)}; {nearest(value if isinstance(value, str) else '', allowed)}"
            )

    def _check_seed(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise SpecError(f"seed must be in [0, 2**63), not {shown(self.seed)}")

    def _check_ranges(self) -> None:
        def require(ok: bool, name: str, rule: str) -> None:
            if not ok:
                raise SpecError(f"{name} must be {rule}, not {shown(getattr(self, name))}")

        for name in ("batch_size", "epochs", "widening", "blocks_per_stage"):
            require(getattr(self, name) >= 1, name, "1 or greater")
        require(self.lr > 0, "lr", "greater than 0")
        require(self.weight_decay >= 0, "weight_decay", "0 or greater")
        require(0 <= self.momentum < 1, "momentum", "in [0, 1)")
        require(0 <= self.dampening < 1, "dampening", "in [0, 1)")
        require(0 <= self.label_noise <= 1, "label_noise", "in [0, 1]")
        require(0 <= self.warmup_epochs < self.epochs, "warmup_epochs", f"in [0, epochs={self.epochs})")
        require(self.train_limit is None or self.train_limit >= 1, "train_limit", "1 or greater")
        require(self.val_split >= 0, "val_split", "0 or greater")
        self._check_seed()
        require(self.gamma > 0, "gamma", "greater than 0")
        require(self.kernel_decay >= 0, "kernel_decay", "0 or greater")
        require(0 <= self.beta2 < 1, "beta2", "in [0, 1)")
        require(self.eps > 0, "eps", "greater than 0")
        rising = list(self.milestones) == sorted(set(self.milestones))
        require(rising and all(0 < x < 1 for x in self.milestones), "milestones", "rising fractions in (0, 1)")
        self._check_scopes()
        if self.optimizer in knobs.ADAM and (self.dampening or self.nesterov):
            raise SpecError(f"dampening and nesterov are knobs of the SGD family; {self.optimizer} has neither")
        if self.dampening and self.momentum == 0:
            raise SpecError("dampening acts on the momentum buffer: it needs momentum > 0")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise SpecError("nesterov needs momentum > 0 and dampening = 0 (as torch.optim.SGD)")

    def _check_scopes(self) -> None:
        for field in _knobs_of_some():
            if getattr(self, field.name) == field.default:
                continue
            for chooser, words in field.metadata["only"].items():
                if getattr(self, chooser) not in words:
                    raise SpecError(
                        f"{field.name} is a knob of {' and '.join(words)}; "
                        f"{chooser} {getattr(self, chooser)} has none (leave it at {field.default!r})"
                    )

    def _fill_from_dataset(self) -> None:
        facts = DATASETS.get(self.dataset)
        if self.augment is None:
            self._set("augment", facts.augment if facts else "none")
        if facts and not self.fingerprint:
            self._set("fingerprint", facts.fingerprint)

    def _check_sizes(self) -> None:
        facts = DATASETS.get(self.dataset)
        if facts:
            self.training_images(facts.n_train)

    def training_images(self, available: int) -> int:
        """Number of images N that train, of ``available`` in the dataset; raises `SpecError` if they do not suffice."""
        left = available - self.val_split
        if left < 1:
            raise SpecError(f"val_split {self.val_split} leaves no training image of {available}")
        if self.train_limit is not None and self.train_limit > left:
            raise SpecError(f"train_limit {self.train_limit} exceeds the {left} training images there are")
        used = left if self.train_limit is None else self.train_limit
        if self.batch_size > used:
            raise SpecError(f"batch_size {self.batch_size} is larger than the {used} training images of this run")
        return used

    @property
    def _shrinks(self) -> int:
        return NETWORKS[self.model].shrinks if self.model in NETWORKS else 0

    def check_data(self, available: int, shape: tuple[int, int, int]) -> None:
        """Raise `SpecError` if ``available`` training images of ``shape`` (C, H, W) cannot be trained on."""
        used, size = self.training_images(available), self.batch_size
        if used % size != 1 % size or max(shape[1:]) > self._shrinks:
            return
        raise SpecError(
            f"batch_size {size} leaves a last batch of 1 image ({used} training images), and {self.model} turns images "
            f"of {shape[1]}x{shape[2]} into a map of 1x1: batch normalisation cannot work on a single value. Choose "
            "another batch_size or train_limit"
        )

    # -- identity -------------------------------------------------------------------------------------------------

    @cached_property
    def run_id(self) -> str:
        """16 hex digits of SHA-256 over the whole resolved spec and the schema version.

        The data enter by fingerprint, so a user's file may move without becoming another run.

        Raises:
            SpecError: the fingerprint of the data is not known yet (``data.resolve(spec)`` fills it in).
        """
        if not self.fingerprint:
            raise SpecError(f"the data of {self.dataset!r} have no fingerprint yet: resolve the spec before naming it")
        if self.model in by_path.BY_PATH and not self.model_code:
            raise SpecError(f"the code of {self.model!r} has no fingerprint yet: resolve the spec before naming it")
        identity = self.to_dict()
        if self.dataset not in DATASETS:
            identity["dataset"] = "npz"
        text = json.dumps({"schema": SPEC_SCHEMA, **identity}, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def method(self) -> str:
        """Label of the documented results file: SGD, SGDM, with +WD where there is decay, variants by their name."""
        name = {"sgd": "SGD", "sgdw": "SGDW", "sgds": "SGDS", "adam": "Adam", "adamw": "AdamW"}[self.optimizer]
        if self.momentum > 0:
            name = name.replace("SGD", "SGDM")
        return name + ("+WD" if self.weight_decay > 0 else "")

    @property
    def decay_gain(self) -> float | None:
        """The factor m of SCIENCE: decay per step is η_t·λ/m.

        m = (1-μ)/(1-dampening) for coupled and stable decay (momentum sums the decay over its memory; Nesterov
        leaves that sum unchanged), m = 1 for decoupled decay, of SGD as of Adam. ``None`` for coupled decay in Adam:
        divided by the root of the squared gradients, it has no rate that the specification alone tells.
        """
        if self.optimizer == "adam":
            return None
        return 1.0 if self.optimizer in ("sgdw", "adamw") else (1.0 - self.momentum) / (1.0 - self.dampening)

    @property
    def own_knobs(self) -> dict[str, Any]:
        """Those knobs of this model and this optimiser, by name, that not every run has."""
        return {name: getattr(self, name) for name in _own_names(self.model, self.optimizer)}

    @property
    def own_words(self) -> str:
        """``own_knobs`` in one line, such as ``widening=2 blocks_per_stage=6``; empty for most runs."""
        return knobs.in_words(self.own_knobs)

    @property
    def other_knobs(self) -> dict[str, Any]:
        """The knobs that every run has and results.csv no column for, where they are not at their default.

        With them, as ``data``, the fingerprint where the files are not the published ones. Empty for most runs.
        """
        facts = DATASETS.get(self.dataset)
        found = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in knobs.WITHOUT_COLUMN and getattr(self, field.name) != field.default
        }
        if self.augment != (facts.augment if facts else "none"):
            found["augment"] = self.augment
        if self.fingerprint and (facts is None or self.fingerprint != facts.fingerprint):
            found["data"] = self.fingerprint.rpartition(":")[2]
        return found

    @property
    def other_words(self) -> str:
        """``other_knobs`` in one line."""
        return knobs.in_words(self.other_knobs)

    def stream(self, name: str, index: int = 0) -> int:
        """Seed of one stream of random numbers (63 bits), independent of every other name, index and run seed.

        Hashing keeps neighbouring seeds unrelated, which ``seed + index`` would not: epoch 2 of seed 42 and epoch 1 of
        seed 43 would share their order.
        """
        digest = hashlib.sha256(f"{self.seed}/{name}/{index}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    # -- conversion -----------------------------------------------------------------------------------------------

    def replace(self, **changes: Any) -> RunSpec:
        """A copy with ``changes``; a new dataset takes its own fingerprint and augmentation unless they are given."""
        if changes.get("dataset", self.dataset) != self.dataset:
            changes = {"fingerprint": "", "augment": None, **changes}
        if changes.get("model", self.model) != self.model:
            changes = {"model_code": "", **changes}
        _refuse_unknown(changes)
        changes = {name: value for name, value in changes.items() if not knobs.same(getattr(self, name), value)}
        if not changes:
            return self
        if changes.keys() <= knobs.BY_THEMSELVES and changes.get("fingerprint") != "":
            return self._renewed(changes)
        return dataclasses.replace(self, **changes)

    def _renewed(self, changes: Mapping[str, Any]) -> RunSpec:
        """A copy that checks `knobs.BY_THEMSELVES` only: a study is few settings under many seeds."""
        copy = object.__new__(type(self))
        vars(copy).update({name: getattr(self, name) for name in knob_names()})
        vars(copy).update(changes)
        copy._set("seed", copy._integer("seed"))
        copy._check_seed()
        copy._check_choice("precision", choices()["precision"])
        one_line("fingerprint", copy.fingerprint)
        return copy

    def to_dict(self) -> dict[str, Any]:
        """All knobs that this model and this optimiser have, by name, as JSON types."""
        values = {name: getattr(self, name) for name in _names_of(self.model, self.optimizer)}
        values["milestones"] = list(self.milestones)
        return values

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> RunSpec:
        """A spec from some knobs, defaults elsewhere; an unknown key raises `SpecError` naming the nearest one."""
        _refuse_unknown(values)
        return cls(**values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """The inverse of ``to_dict``: every knob must be there, since a silent default could change the run.

        Knobs of other models and optimisers may be absent, as they are from what ``to_dict`` gives.
        """
        own = (values.get("model"), values.get("optimizer"))
        usual = all(isinstance(word, str) for word in own)  # what is stored may be anything
        names = _names_of(*map(str, own)) if usual else knob_names()
        missing = [name for name in names if name not in values]
        if missing:
            raise SpecError(f"the stored spec lacks {', '.join(missing)}")
        return cls.build(values)


@cache
def _knobs_of_some() -> tuple[dataclasses.Field[Any], ...]:
    return tuple(field for field in dataclasses.fields(RunSpec) if field.metadata["only"])


@cache
def _names_of(model: str, optimizer: str) -> tuple[str, ...]:
    """The knobs that a run of this model and this optimiser has."""
    chosen = {"model": model, "optimizer": optimizer}
    return tuple(field.name for field in dataclasses.fields(RunSpec) if knobs.applies(field, chosen))


@cache
def _own_names(model: str, optimizer: str) -> tuple[str, ...]:
    """Those of them that not every run has."""
    return tuple(name for name in _names_of(model, optimizer) if RunSpec.__dataclass_fields__[name].metadata["only"])


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    for key in values:
        if key not in knob_names():
            raise SpecError(f"unknown key {shown(key)}; {nearest(key, knob_names())}")


@cache
def knob_names() -> tuple[str, ...]:
    """Names of all knobs, in the order of the class."""
    return tuple(f.name for f in dataclasses.fields(RunSpec))


@cache
def choices() -> dict[str, tuple[str, ...]]:
    """The allowed words of each knob that takes one of a list."""
    found = {}
    for name, kind in get_type_hints(RunSpec).items():
        for part in (kind, *get_args(kind)):
            if (words := get_args(part)) and all(isinstance(w, str) for w in words):
                found[name] = cast(tuple[str, ...], words)
    return found
