"""Reading checkpoints of the widely used public hypernetwork for CIFAR-10 (github.com/g1910/HyperNetworks).

Based on the parameter names of its ``primary_net.py``, ``hypernetwork_modules.py`` and ``resnet_blocks.py``:

    hope.{w1,b1,w2,b2}                         the generator; reshapes its rows to *outputs*
    zs.{layer}.z_list.{block}                  an embedding [d] for each block, row by row, two layers a residual block
    conv1.{weight,bias}, bn1.*                 the stem
    res_net.{block}.{bn1,bn2}.*                batch norms of a residual block
    res_net.{block}.reslayer.{weight,bias}     1x1 shortcut where the width changes
    final.{weight,bias}

Its convolutions have biases, the networks here none. Nothing is lost: the stem's bias is subtracted from the running
mean of the batch norm behind it, and a shortcut's is added to the bias of the batch norm that it is summed with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from interplay.errors import InterplayError
from interplay.models.hypernet import HyperNetwork, hypernetize
from interplay.models.resnet import is_block_kernel, wide_resnet


class PublicCheckpointError(InterplayError):
    """What was given is no checkpoint of the public hypernetwork; the message names what is missing or does not fit."""


def read_public_checkpoint(checkpoint: Mapping[str, Any]) -> HyperNetwork:
    """The network of a public checkpoint, with the same outputs in evaluation and in training mode.

    Args:
        checkpoint: what ``torch.load(path, map_location="cpu", weights_only=True)`` gives: the weights by name, or a
            dictionary that holds them under ``net``. A prefix ``module.`` is understood.

    Raises:
        PublicCheckpointError: names are absent, or shapes are not those of such a network.
    """
    try:
        weights = checkpoint.get("net", checkpoint)
        theirs = {str(name).removeprefix("module."): value for name, value in weights.items()}
        blocks = 1 + max(int(name.split(".")[1]) for name in theirs if name.startswith("res_net."))
        outputs, channels = len(theirs["final.weight"]), theirs["conv1.weight"].shape[1]
        widening = len(theirs["res_net.0.bn1.weight"]) // 16
        net = wide_resnet(outputs, channels, widening, blocks // 3)
        model = hypernetize(net, is_block_kernel, embedding=len(theirs["hope.w2"]), layout="rows_are_outputs")
        model.load_state_dict(_ours(theirs, blocks))
    except KeyError as error:
        raise PublicCheckpointError(f"the checkpoint has no {error.args[0]!r}") from error
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise PublicCheckpointError(f"the checkpoint is not of the public hypernetwork: {reason}") from error
    return model.eval()


def _ours(theirs: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """The parameters under the names, and in the form, that they have here."""
    embeddings = []
    for layer in range(2 * blocks):
        prefix = f"zs.{layer}.z_list."
        count = 1 + max((int(name.removeprefix(prefix)) for name in theirs if name.startswith(prefix)), default=0)
        embeddings += [theirs[f"zs.{layer}.z_list.{block}"] for block in range(count)]
    state = {"embeddings": torch.stack(embeddings)}
    state |= {f"generator.{name}": theirs[f"hope.{name}"] for name in ("w1", "b1", "w2", "b2")}
    state["net.conv1.weight"] = theirs["conv1.weight"]
    state |= _norm(theirs, "bn1", "net.bn1")
    state["net.bn1.running_mean"] = theirs["bn1.running_mean"] - theirs["conv1.bias"]
    for number in range(blocks):
        old, new = f"res_net.{number}", f"net.stages.{number // (blocks // 3)}.{number % (blocks // 3)}"
        state |= _norm(theirs, f"{old}.bn1", f"{new}.bn1") | _norm(theirs, f"{old}.bn2", f"{new}.bn2")
        if f"{old}.reslayer.weight" in theirs:
            state[f"{new}.shortcut.weight"] = theirs[f"{old}.reslayer.weight"]
            state[f"{new}.bn2.bias"] = theirs[f"{old}.bn2.bias"] + theirs[f"{old}.reslayer.bias"]
    state |= {f"net.linear.{name}": theirs[f"final.{name}"] for name in ("weight", "bias")}
    return state


def _norm(theirs: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    names = ("weight", "bias", "running_mean", "running_var")
    found = {f"{new}.{name}": theirs[f"{old}.{name}"] for name in names}
    # Checkpoints of the first versions of torch have no such counter; nothing here reads it.
    found[f"{new}.num_batches_tracked"] = theirs.get(f"{old}.num_batches_tracked", torch.tensor(0))
    return found
