"""The three documented experiment sets, the same sets scaled to the built-in digits, and the hypernetworks' recipe.

Each function gives a complete study; its docstring has the claim, the cost and the command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from interplay.errors import SpecError, nearest
from interplay.spec import RunSpec
from interplay.study.grid import expand
from interplay.study.study import Study
from interplay.text import shown


@dataclass(frozen=True)
class Scale:
    """The grids of the three sets at one scale.

    ``ordering_decay`` must be one of ``decays`` and three of ``ordering_lrs`` among ``coupling_lrs``, ``base_lr`` too,
    for the sets to share the runs that they share in the documents: 83 runs, 74 of them distinct.
    """

    ordering_lrs: tuple[float, ...]
    ordering_decay: float
    coupling_lrs: tuple[float, ...]
    decays: tuple[float, ...]
    scaling_decays: tuple[float, ...]
    base_lr: float
    batches: tuple[int, ...]
    knobs: tuple[tuple[str, Any], ...] = ()

    @property
    def base(self) -> dict[str, Any]:
        """Knobs common to all runs."""
        return dict(self.knobs)


DOCUMENTED = Scale(
    ordering_lrs=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0),
    ordering_decay=5e-4,
    coupling_lrs=(0.01, 0.05, 0.1, 0.2, 0.3),
    decays=(1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2),
    scaling_decays=(1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3),
    base_lr=0.1,
    batches=(64, 128, 256, 512),
)
"""CIFAR-100, ResNet-18, 100 epochs: the recipe of the documents."""


DIGITS = Scale(
    ordering_lrs=(0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
    ordering_decay=2e-2,
    coupling_lrs=(0.01, 0.02, 0.05, 0.1, 0.3),
    decays=(2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2, 6e-2, 8e-2),
    scaling_decays=(2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2, 6e-2),
    base_lr=0.05,
    batches=(64, 128, 256, 512),
    knobs=(("dataset", "digits"), ("model", "mlp"), ("label_noise", 0.4), ("epochs", 60)),
)
"""Built-in digits with 40 % label noise, an MLP, 60 epochs: half a second a run.

On so short a run ηλT is small, so the decays are larger: docs/digits.md shows that the best one lies inside this grid
at every learning rate and batch size. Without label noise decay would have nothing to do.
"""


def lr_ordering(scale: Scale = DOCUMENTED, seeds: Sequence[int] = (42,), **knobs: Any) -> Study:
    """Set 1: is the best learning rate of SGD above that of SGD+WD, and that above the one of SGDM+WD?

    24 runs of 100 epochs a seed. ``python run_experiments.py --experiment 1 --epochs 100 --gpus all``
    """
    methods = [(0.0, 0.0), (0.0, scale.ordering_decay), (0.9, scale.ordering_decay)]
    specs = expand(
        scale.base,
        {},
        where="lr-ordering",
        overrides=knobs,
        zips=[
            {"momentum": [m for m, _ in methods], "weight_decay": [wd for _, wd in methods]},
            {"lr": scale.ordering_lrs},
        ],
    )
    return Study(
        name="lr-ordering",
        question="Is the optimal learning rate of SGD above that of SGD+WD, and that above the one of SGDM+WD?",
        claims=("ordering.sgd>sgd_wd", "ordering.sgd_wd>sgdm_wd"),
        cost="24 runs a seed; 100 epochs of ResNet-18 each at full scale",
        command="python run_experiments.py --experiment 1 --epochs 100 --gpus all",
        specs=tuple(specs),
        experiment=1,
        remake=partial(lr_ordering, scale, seeds),
    ).with_seeds(seeds)


def eta_lambda(scale: Scale = DOCUMENTED, seeds: Sequence[int] = (42,), **knobs: Any) -> Study:
    """Set 2: do good settings lie along ηλ = const, and is the best weight decay ∝ 1/η?

    35 runs of 100 epochs a seed. ``python run_experiments.py --experiment 2 --epochs 100 --gpus all``
    """
    axes = {"lr": scale.coupling_lrs, "weight_decay": scale.decays}
    specs = expand({**scale.base, "momentum": 0.9}, axes, where="eta-lambda", overrides=knobs)
    return Study(
        name="eta-lambda",
        question="Do good settings lie along ηλ = const, and is the optimal weight decay proportional to 1/η?",
        claims=("inverse.direction", "inverse.profile", "inverse.sufficiency"),
        cost="35 runs a seed; 100 epochs of ResNet-18 each at full scale",
        command="python run_experiments.py --experiment 2 --epochs 100 --gpus all",
        specs=tuple(specs),
        experiment=2,
        remake=partial(eta_lambda, scale, seeds),
    ).with_seeds(seeds)


def batch_scaling(scale: Scale = DOCUMENTED, seeds: Sequence[int] = (42,), **knobs: Any) -> Study:
    """Set 3: is the best weight decay ∝ B when the learning rate follows the linear rule η = η₀ B/128?

    24 runs of 100 epochs a seed. ``python run_experiments.py --experiment 3 --epochs 100 --gpus all``
    """
    specs = expand(
        {**scale.base, "momentum": 0.9},
        {"batch_size": scale.batches, "weight_decay": scale.scaling_decays},
        derived={"lr": f"{scale.base_lr!r} * batch_size / 128"},
        where="batch-scaling",
        overrides=knobs,
    )
    return Study(
        name="batch-scaling",
        question="Is the optimal weight decay proportional to the batch size under the linear learning rate rule?",
        claims=("batch.linear_rule",),
        cost="24 runs a seed; 100 epochs of ResNet-18 each at full scale",
        command="python run_experiments.py --experiment 3 --epochs 100 --gpus all",
        specs=tuple(specs),
        experiment=3,
        remake=partial(batch_scaling, scale, seeds),
    ).with_seeds(seeds)


HYPERNETWORK: Mapping[str, Any] = {
    "dataset": "cifar10",
    "model": "hyper_resnet",
    "optimizer": "adam",
    "lr": 0.002,
    "weight_decay": 5e-4,
    "batch_size": 128,
    "epochs": 200,
    "schedule": "step",
    "milestones": (0.3, 0.6, 0.8),
    "gamma": 0.5,
}
"""The documented recipe of the hypernetworks: Adam, its rate halved at 30, 60 and 80 % of the epochs."""


def hypernetwork(**knobs: Any) -> RunSpec:
    """A run of `HYPERNETWORK` with ``knobs`` set; about 0.098 M parameters at widening 1, 0.156 M at 2.

    ``hypernetwork(model="wide_resnet")`` is the direct twin: every other knob that both have is the same.
    """
    return RunSpec.build({**HYPERNETWORK, **knobs})


PRESETS: Mapping[str, Callable[..., Study]] = {
    "lr-ordering": lr_ordering,
    "eta-lambda": eta_lambda,
    "batch-scaling": batch_scaling,
}
BY_NUMBER = {1: "lr-ordering", 2: "eta-lambda", 3: "batch-scaling"}


def preset(name: str, seeds: Sequence[int] = (42,), **knobs: Any) -> Study:
    """A documented set by name, with ``knobs`` set in every run.

    Raises:
        SpecError: no such set, or a knob that the set itself varies.
    """
    if name not in PRESETS:
        raise SpecError(f"unknown study {shown(name)}; {nearest(name, PRESETS)}, or the path of a .toml file")
    if "seed" in knobs:
        raise SpecError("seed cannot be set: say which seeds")
    return PRESETS[name](DOCUMENTED, seeds, **knobs)


def documented_sets(seeds: Sequence[int] = (42,), **knobs: Any) -> tuple[Study, ...]:
    """The three sets: 83 runs a seed, 74 distinct."""
    return tuple(preset(name, seeds, **knobs) for name in PRESETS)
