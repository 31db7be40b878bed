"""Loading weights, an optimiser's state and a schedule's position into objects that must be of the same kind.

Everything is compared before anything is loaded, so that what does not fit leaves all as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

_NAMED = 3
"""Tensors that a message names; it counts the others."""

_KINDS = {"momentum", "betas", "beta1", "beta2", "eps", "alpha", "rho", "decay"}
"""Settings by which optimisers differ; others are about how torch computes, and change with its version."""

_POSITION = ("last_epoch", "_step_count", "base_lrs", "_last_lr")


class MisfitError(ValueError):
    """What does not fit, in words."""


def bare(name: str) -> str:
    """The name of a parameter without what wrappers put before it."""
    return name.removeprefix("module.")


def weights_for(model: nn.Module, weights: object) -> dict[str, Tensor]:
    """``weights`` under the names of ``model``, whether or not one of them comes from a wrapped network.

    Raises:
        MisfitError: names the tensors, with their shapes, that are absent, unknown or of another shape.
    """
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise MisfitError("its weights are no tensors by name")
    own = {bare(name): (name, value) for name, value in model.state_dict().items()}
    given = {bare(str(name)): value for name, value in weights.items()}
    other = [
        f"{name} is {_shape(given[name])} in the checkpoint and {_shape(value)} in the network"
        for name, (_, value) in own.items()
        if name in given and given[name].shape != value.shape
    ]
    absent = [f"{name} {_shape(value)}" for name, (_, value) in own.items() if name not in given]
    unknown = [f"{name} {_shape(value)}" for name, value in given.items() if name not in own]
    parts = [_listed(other, "; ")] if other else []
    parts += [f"the checkpoint has no {_listed(absent)}"] if absent else []
    parts += [f"the network has no {_listed(unknown)}"] if unknown else []
    if parts:
        raise MisfitError("; ".join(parts))
    return {own[name][0]: value for name, value in given.items()}


def check_optimizer(optimizer: Optimizer, state: Any, names: Mapping[int, str]) -> None:
    """Make sure that ``state`` is of an optimiser like ``optimizer``.

    Args:
        optimizer: what is to take the state.
        state: as ``Optimizer.state_dict`` gives it.
        names: of parameters by ``id``, as far as they are known.

    Raises:
        MisfitError: another optimiser, other groups, or a buffer of another shape than its parameter.
    """
    groups = state["param_groups"]
    kinds = sorted(_KINDS & groups[0].keys()), sorted(_KINDS & optimizer.param_groups[0].keys())
    if kinds[0] != kinds[1]:
        raise MisfitError(
            f"the optimiser is {type(optimizer).__name__} with {', '.join(kinds[1])}; "
            f"that of the checkpoint has {', '.join(kinds[0])}"
        )
    sizes = [len(group["params"]) for group in groups], [len(group["params"]) for group in optimizer.param_groups]
    if sizes[0] != sizes[1]:
        raise MisfitError(
            f"the optimiser has {_numbers(sizes[1])} parameters in its groups; "
            f"that of the checkpoint has {_numbers(sizes[0])}"
        )
    numbers = [number for group in groups for number in group["params"]]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    other = []
    for place, (number, parameter) in enumerate(zip(numbers, parameters, strict=True)):
        for name, value in state["state"].get(number, {}).items():
            if isinstance(value, Tensor) and value.dim() > 0 and value.shape != parameter.shape:
                whose = names.get(id(parameter), f"parameter {place}")
                other.append(
                    f"{name} of {whose} is {_shape(value)} in the checkpoint and the parameter {_shape(parameter)}"
                )
    if other:
        raise MisfitError(_listed(other, "; "))


def position_for(scheduler: LRScheduler, state: Any, kind: str) -> dict[str, Any]:
    """What ``scheduler`` takes over of ``state``, which is that of a scheduler named ``kind``.

    A ``LambdaLR`` computes its rates from the position alone, so it can follow any schedule.

    Raises:
        MisfitError: a scheduler of another kind or for another number of groups.
    """
    name = type(scheduler).__name__
    if name != kind and not isinstance(scheduler, LambdaLR):
        raise MisfitError(f"the scheduler is {name}; that of the checkpoint is {kind}")
    groups = len(scheduler.optimizer.param_groups), len(state["_last_lr"])
    if groups[0] != groups[1]:
        raise MisfitError(f"the scheduler has {groups[0]} groups of parameters; that of the checkpoint has {groups[1]}")
    return dict(state) if name == kind else {key: state[key] for key in _POSITION if key in state}


def take_position(scheduler: LRScheduler, position: Mapping[str, Any]) -> None:
    """Set ``scheduler`` to ``position`` and its optimiser to the rate that comes next.

    torch computes each rate from the one before, which is the optimiser's.
    """
    if isinstance(scheduler, LambdaLR):
        scheduler.__dict__.update(position)
    else:
        scheduler.load_state_dict(dict(position))
    for group, rate in zip(scheduler.optimizer.param_groups, position["_last_lr"], strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _shape(value: Tensor) -> str:
    return str(list(value.shape))


def _numbers(values: Iterable[int]) -> str:
    return " and ".join(map(str, values))


def _listed(parts: Sequence[str], between: str = ", ") -> str:
    more = len(parts) - _NAMED
    return between.join([*parts[:_NAMED], *([f"{more} more"] if more > 0 else [])])
