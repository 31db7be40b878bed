"""Runs side by side with steps of their own. On a CPU they take turns; on a GPU each has a stream."""

from __future__ import annotations

import pytest
import torch
from cuda_graphs import Graphs

from interplay.data import batches
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.stack.lanes import Lanes
from interplay.stack.train import train_stack
from interplay.train.checkpoint import Checkpoints
from interplay.train.loop import Interrupted

SPEC = RunSpec(dataset="cifar100", model="cnn", batch_size=16, lr=0.02, precision="fp32", epochs=3, weight_decay=0.01)
SPECS = [SPEC.replace(lr=lr, seed=seed) for lr, seed in ((0.02, 1), (0.05, 2), (0.01, 3))]
SPLITS = random_splits(SPEC, 40, 24, "cpu")


def history(record: RunRecord | None) -> list[tuple[float | None, ...]]:
    assert record is not None
    return [(m.train_loss, m.train_acc, m.test_loss, m.test_acc) for m in record.history]


def test_each_run_computes_to_the_last_bit_what_it_computes_alone() -> None:
    together = train_stack(SPECS, [SPLITS] * 3, path="streams", instruments=["weight_norm"])
    for spec, record in zip(SPECS, together, strict=True):
        (alone,) = train_stack([spec], [SPLITS], instruments=["weight_norm"])
        assert history(record) == history(alone)
        assert record is not None
        assert alone is not None
        assert [m.instruments for m in record.history] == [m.instruments for m in alone.history]
        assert record.environment["path"] == "streams"
        assert record.environment["stack"] == 3


def test_captured_they_do_the_same_though_one_graph_lies_between_the_steps_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "mirror_counted", batches.mirror)  # as on a GPU
    sums = []
    for recorder in (Graphs(), None):
        lanes = Lanes(SPECS, [SPLITS] * 3, recorder)
        for epoch in (1, 2):
            assert list(lanes.train_epoch([epoch] * 3)) == [1, 2, 3]
        sums.append((lanes.sums(), lanes.last(), lanes.evaluate([SPLITS.test] * 3)))
        lanes.close()
    assert sums[0] == sums[1]


def test_one_that_diverges_leaves_and_changes_nothing_for_the_others() -> None:
    lost, other = train_stack([SPEC.replace(lr=1e6, seed=4), SPECS[0]], [SPLITS] * 2, path="streams")
    assert lost is not None
    assert lost.status is Status.DIVERGED
    (alone,) = train_stack([SPECS[0]], [SPLITS])
    assert history(other) == history(alone)


def test_a_checkpoint_of_a_stream_says_where_to_go_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    folders = [tmp_path_factory.mktemp(f"run{number}") for number in range(3)]
    stops = iter([False, True])
    with pytest.raises(Interrupted):
        train_stack(
            SPECS,
            [SPLITS] * 3,
            path="streams",
            checkpoints=[*map(Checkpoints, folders)],
            should_stop=lambda: next(stops),
        )
    resumed = train_stack(SPECS, [SPLITS] * 3, path="streams", checkpoints=[*map(Checkpoints, folders)])
    whole = train_stack(SPECS, [SPLITS] * 3, path="streams")
    assert [history(record) for record in resumed] == [history(record) for record in whole]


@pytest.mark.cuda
def test_on_a_gpu_they_agree_with_each_alone(cuda: torch.device) -> None:
    splits = random_splits(SPEC, 200, 48, str(cuda))
    together = train_stack(SPECS, [splits] * 3, path="streams")
    for spec, record in zip(SPECS, together, strict=True):
        (alone,) = train_stack([spec], [splits])
        for ours, theirs in zip(history(record), history(alone), strict=True):
            assert ours[::2] == pytest.approx(theirs[::2], rel=1e-3)  # losses
