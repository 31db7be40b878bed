"""Where a run stands at the end of an epoch: what its checkpoints hold, whichever way it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from interplay.optim.schedulers import scheduler_after, with_next_rate
from interplay.record import EpochMetrics, best_epoch
from interplay.spec import RunSpec


def snapshot(
    spec: RunSpec,
    history: Sequence[EpochMetrics],
    *,
    model_state: Mapping[str, Tensor],
    optimizer: Optimizer,
    steps: int,
    first_loss: float | None,
    seconds: float,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the rest of the run depends on, and the metrics so far.

    Args:
        spec: what is computed.
        history: its epochs so far, at least one.
        model_state: weights and buffers under the names of `models.build`.
        optimizer: the optimiser of `optim.sgd.build`, or one with its state and groups.
        steps: batches of an epoch.
        first_loss: what the divergence rule keeps.
        seconds: wall time spent so far.
        environment: of this sitting.
    """
    last, best = history[-1], best_epoch(history)
    scheduler, position, rate = scheduler_after(spec, last.epoch, steps, len(optimizer.param_groups))
    return {
        "run_id": spec.run_id,
        "spec": spec.to_dict(),
        "epoch": last.epoch,
        "model_state_dict": model_state,
        "optimizer_state_dict": with_next_rate(optimizer.state_dict(), spec, rate),
        "scheduler": scheduler,
        "scheduler_state_dict": position,
        "metrics": {
            "epoch": last.epoch,
            "final_test_acc": last.test_acc,
            "final_test_loss": last.test_loss,
            "final_train_loss": last.train_loss,
            "best_test_acc": best.test_acc if best else None,
            "best_epoch": best.epoch if best else None,
        },
        "history": [m.to_dict() for m in history],
        "first_batch_loss": first_loss,
        "seconds": seconds,
        "environment": environment,
    }


def measured_at(epoch: int, spec: RunSpec, test_every: int) -> bool:
    """Whether the test and validation images are looked at after ``epoch``: every so many epochs and after the last."""
    return epoch == spec.epochs or epoch % test_every == 0


def sittings(earlier: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The environments of all sittings before this one, from that of the last."""
    last = dict(earlier)
    return [*last.pop("earlier_sittings", []), last]
