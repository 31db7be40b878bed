"""Networks by import path: calling the user's callable, and refusing what cannot be trained."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from interplay import by_path
from interplay.errors import SpecError
from interplay.knobs import in_words
from interplay.spec import RunSpec
from interplay.text import shown

Shape = tuple[int, ...]

GIVEN: dict[str, Callable[[int, Shape], Any]] = {
    **dict.fromkeys(("classes", "num_classes", "n_classes"), lambda classes, shape: classes),
    **dict.fromkeys(("channels", "in_channels", "in_chans"), lambda classes, shape: shape[0]),
    **dict.fromkeys(("shape", "input_shape"), lambda classes, shape: shape),
    **dict.fromkeys(("inputs", "in_features"), lambda classes, shape: math.prod(shape)),
}
"""Parameters of a callable that the data fill in, by name."""


def build(spec: RunSpec, shape: Shape, classes: int) -> nn.Module:
    """The network that the import path of ``spec`` makes, tried on two images of zeros.

    Raises:
        SpecError: it cannot be made or does not fit ``shape`` (C, H, W) and ``classes``; the line says what it gave.
    """
    args = json.loads(spec.model_args or "{}")
    package, _, name = spec.model.partition(":")
    try:
        if package == "timm":
            make = by_path.load("timm:create_model", spec.model_code)
            given = {"pretrained": False, "num_classes": classes, "in_chans": shape[0], **args}
            network = make(name, **given)
        elif package == "torchvision":
            make = by_path.load("torchvision.models:get_model", spec.model_code)
            given = {"weights": None, "num_classes": classes, **args}
            network = make(name, **given)
        else:
            make = by_path.load(spec.model, spec.model_code)
            given = _given(make, classes, shape) | args
            network = make(**given)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"model {spec.model} cannot be made: {by_path.place(error)}") from error
    _check(spec.model, network, shape, classes, given)
    return network  # type: ignore[no-any-return]


def _given(make: Callable[..., Any], classes: int, shape: Shape) -> dict[str, Any]:
    try:
        names = inspect.signature(make).parameters
    except (TypeError, ValueError):  # a callable of C has none
        return {}
    return {name: value(classes, shape) for name, value in GIVEN.items() if name in names}


def _check(model: str, network: object, shape: Shape, classes: int, given: Mapping[str, Any]) -> None:
    if not isinstance(network, nn.Module):
        raise SpecError(f"model {model} returned {shown(network)}, which is no torch.nn.Module")
    trained = [p for p in network.parameters() if p.requires_grad]
    if not trained:
        raise SpecError(f"model {model} returned {type(network).__name__}, which has no trainable parameter")
    if kinds := {str(p.dtype) for p in trained if p.dtype != torch.float32}:
        raise SpecError(f"model {model} has parameters of {', '.join(sorted(kinds))}; they must be torch.float32")
    size = "x".join(map(str, shape))
    network.eval()
    try:
        with torch.no_grad():
            found = network(torch.zeros(2, *shape))
    except Exception as error:
        made = f"made with {in_words(given)}" if given else "made without arguments"
        raise SpecError(
            f"model {model} fails on images of {size}: {by_path.place(error)} ({made}; others go into model_args)"
        ) from error
    finally:
        network.train()
    said = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
    if not isinstance(found, Tensor) or tuple(found.shape) != (2, classes) or not found.is_floating_point():
        raise SpecError(
            f"model {model} turns 2 images of {size} into {said}; logits of shape (2, {classes}) are needed"
        )
