from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from following import hearing, on_epoch
from torch.nn import functional

from interplay.data.batches import TrainingBatches, normalise
from interplay.data.splits import Splits
from interplay.models.build import build
from interplay.optim.schedules import epoch_rates
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.train import checkpoint
from interplay.train.checkpoint import CheckpointError, Checkpoints
from interplay.train.events import BatchSeen, Event, ModelReady
from interplay.train.loop import Interrupted, train


def numbers(record: RunRecord) -> list[dict[str, Any]]:
    """The history without its timings."""
    return [{k: v for k, v in m.to_dict().items() if k not in ("seconds", "images_per_second")} for m in record.history]


def test_a_run_learns_and_its_record_says_what_was_built(digits_spec: RunSpec, digits: Splits) -> None:
    record = train(digits_spec.replace(epochs=15), digits)
    assert record.status is Status.FINISHED
    assert record.final_test_acc is not None
    assert record.final_test_acc > 80
    assert record.final_val_acc is not None
    assert (record.model_class, record.parameters) == ("MLP", 26_122)
    assert [m.epoch for m in record.history] == list(range(1, 16))
    assert record.environment["path"] == "single"
    assert record.environment["threads"] == 1
    assert record.environment["torch"] == torch.__version__
    assert record.collapse["sum_of_rates"] == pytest.approx(0.1 * 15 * 16 / 2)  # 15 steps an epoch
    assert record.wall_seconds > 0
    assert RunRecord.from_json(record.to_json()) == record


def test_the_test_images_may_be_looked_at_less_often(digits_spec: RunSpec, digits: Splits, tmp_path: Path) -> None:
    """Nothing else changes: neither training nor the last epoch, which is always looked at; the best is of those."""
    often, seldom = train(digits_spec, digits), train(digits_spec, digits, test_every=4)
    assert [m.test_acc is None for m in seldom.history] == [True, True, True, False, True, False]
    assert [m.val_loss is None for m in seldom.history] == [True, True, True, False, True, False]
    for before, after in zip(numbers(often), numbers(seldom), strict=True):
        assert after == before | {name: None for name, value in after.items() if value is None}
    assert seldom.best_test_acc == max(often.history[i].test_acc or 0.0 for i in (3, 5))

    places = Checkpoints(tmp_path)
    with pytest.raises(Interrupted):
        train(digits_spec, digits, test_every=4, checkpoints=places, **on_epoch(lambda m: m.epoch == 3))
    assert checkpoint.read(places.last)["metrics"]["best_test_acc"] is None
    assert numbers(train(digits_spec, digits, test_every=4, checkpoints=places)) == numbers(seldom)


def test_a_test_loss_that_is_not_finite_is_seen_at_the_next_look(
    digits_spec: RunSpec, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interplay.train.loop.evaluate", lambda *_: (None, None))
    record = train(digits_spec, digits, test_every=4)
    assert (record.status, len(record.history)) == (Status.DIVERGED, 4)
    assert record.reason == "the test loss is not finite"


def test_the_loop_is_the_textbook_one(digits_spec: RunSpec, digits: Splits) -> None:
    """Two epochs written out by hand give the same metrics and the same weights."""
    spec = digits_spec.replace(model="cnn", epochs=2, weight_decay=0.01)
    saved: list[EpochMetrics] = []
    record = train(spec, digits, **on_epoch(lambda m: saved.append(m)))
    assert list(record.history) == saved

    model = build(spec, digits.shape, digits.classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), spec.lr, 0.9, weight_decay=0.01)
    batches = TrainingBatches(spec, digits)
    for epoch in (1, 2):
        optimizer.param_groups[0]["lr"] = epoch_rates(spec, epoch, batches.steps)[0]
        total, correct = 0.0, 0
        model.train()
        for x, y in batches.epoch(epoch):
            logits = model(x.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            correct += int((logits.argmax(1) == y).sum())
        assert record.history[epoch - 1].train_loss == pytest.approx(total / 900, rel=1e-6)
        assert record.history[epoch - 1].train_acc == pytest.approx(100 * correct / 900)
    model.eval()
    with torch.no_grad():
        logits = model(normalise(digits.test.images, digits.mean, digits.std))
    assert record.final_test_acc == pytest.approx(100 * (logits.argmax(1) == digits.test.labels).float().mean().item())
    assert record.final_test_loss == pytest.approx(
        functional.cross_entropy(logits, digits.test.labels).item(), rel=1e-4
    )


def test_same_spec_same_bits_and_another_seed_other_ones(digits_spec: RunSpec, digits: Splits) -> None:
    first = numbers(train(digits_spec, digits))
    assert numbers(train(digits_spec, digits)) == first
    assert numbers(train(digits_spec.replace(seed=1), digits)) != first


@pytest.mark.parametrize(
    "knobs",
    [
        {"model": "mlp"},
        {"model": "cnn"},
        {"model": "cnn", "optimizer": "sgdw", "decay_on": "weights"},
        {"model": "mlp", "optimizer": "sgds", "nesterov": True},
        {"model": "mlp", "schedule": "linear", "schedule_every": "step", "warmup_epochs": 2},
        {"model": "mlp", "augment": "crop_flip"},
    ],
)
def test_an_interrupted_and_resumed_run_gives_the_same_bits(
    digits_spec: RunSpec, digits: Splits, tmp_path: Path, knobs: dict[str, Any]
) -> None:
    """Stopped early and stopped late, against the same whole run."""
    spec = digits_spec.replace(**knobs)
    whole = Checkpoints(tmp_path / "whole", keep=True)
    expected = train(spec, digits, checkpoints=whole)
    for stop_after in (1, 4):
        _interrupted(spec, digits, tmp_path / f"parts{stop_after}", stop_after, whole, expected)


def _interrupted(
    spec: RunSpec, digits: Splits, folder: Path, stop_after: int, whole: Checkpoints, expected: RunRecord
) -> None:
    parts = Checkpoints(folder, keep=True)
    with pytest.raises(Interrupted, match=f"stopped after epoch {stop_after}"):
        train(spec, digits, checkpoints=parts, **on_epoch(lambda m: m.epoch == stop_after))
    assert parts.last.exists()
    resumed: list[int] = []
    found = train(spec, digits, checkpoints=parts, **on_epoch(lambda m: resumed.append(m.epoch)))
    assert resumed == list(range(stop_after + 1, 7))
    assert numbers(found) == numbers(expected)
    assert len(found.environment["earlier_sittings"]) == 1
    assert parts.last.exists()  # until whoever keeps the record has it on disk
    for one, other in ((whole.final, parts.final), (whole.best, parts.best)):
        a, b = checkpoint.read(one), checkpoint.read(other)
        assert all(torch.equal(a["model_state_dict"][k], b["model_state_dict"][k]) for k in a["model_state_dict"])
        assert a["metrics"] == b["metrics"]


def test_a_checkpoint_every_so_often_survives_a_kill(digits_spec: RunSpec, digits: Splits, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def killed(metrics: EpochMetrics) -> None:
        if metrics.epoch == 4:
            raise Killed

    checkpoints = Checkpoints(tmp_path, every_seconds=0)
    with pytest.raises(Killed):
        train(digits_spec, digits, checkpoints=checkpoints, **on_epoch(killed))
    assert checkpoint.read(checkpoints.last)["epoch"] == 3
    assert numbers(train(digits_spec, digits, checkpoints=checkpoints)) == numbers(train(digits_spec, digits))


def test_a_checkpoint_of_another_run_is_refused(digits_spec: RunSpec, digits: Splits, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(Interrupted):
        train(digits_spec, digits, checkpoints=checkpoints, **on_epoch(lambda m: True))
    with pytest.raises(CheckpointError, match="belongs to run"):
        train(digits_spec.replace(lr=0.2), digits, checkpoints=checkpoints)


def test_a_loss_that_is_not_finite_ends_the_run_at_once_as_a_result(digits_spec: RunSpec, digits: Splits) -> None:
    seen: list[int] = []
    record = train(digits_spec.replace(lr=1e6, schedule="constant"), digits, **on_epoch(lambda m: seen.append(m.epoch)))
    assert record.status is Status.DIVERGED
    assert record.reason == "the training loss is not finite"
    assert record.final_test_acc is None
    assert len(record.history) < 6
    assert record.history[-1].train_loss is None
    assert seen == [m.epoch for m in record.history]


def test_a_stop_request_at_the_last_epoch_finishes_the_run(digits_spec: RunSpec, digits: Splits) -> None:
    assert train(digits_spec, digits, **on_epoch(lambda m: m.epoch == 6)).status is Status.FINISHED


def test_batches_are_reported_at_the_last_one_of_each_epoch(digits_spec: RunSpec, digits: Splits) -> None:
    seen: list[BatchSeen] = []
    record = train(digits_spec.replace(batch_size=10, epochs=2), digits, emit=hearing(BatchSeen, seen.append))
    assert [(b.epoch, b.batch) for b in seen] == [(1, 50), (1, 90), (2, 50), (2, 90)]
    assert seen[1].loss == pytest.approx(record.history[0].train_loss)
    assert seen[3].accuracy == pytest.approx(record.history[1].train_acc)
    assert seen[3].lr == pytest.approx(0.05)


def test_a_batch_is_reported_by_itself_besides_the_mean_so_far(digits_spec: RunSpec, digits: Splits) -> None:
    seen: list[BatchSeen] = []
    # One batch an epoch: the batch alone is the epoch.
    record = train(digits_spec.replace(batch_size=900, epochs=2), digits, emit=hearing(BatchSeen, seen.append))
    assert [(b.batch_loss, b.batch_accuracy) for b in seen] == [(b.loss, b.accuracy) for b in seen]
    seen.clear()
    heard = train(digits_spec.replace(batch_size=10, epochs=2), digits, emit=hearing(BatchSeen, seen.append))
    assert all(b.batch_loss != b.loss for b in seen)
    assert {b.batch_accuracy for b in seen} <= {10.0 * n for n in range(11)}
    assert numbers(heard) == numbers(train(digits_spec.replace(batch_size=10, epochs=2), digits))
    assert numbers(record) != numbers(heard)


def test_the_network_is_shown_once_with_the_epochs_behind_it(
    digits_spec: RunSpec, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, later = time.perf_counter, 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + later)
    shown: list[tuple[str, list[int]]] = []

    def emit(event: Event) -> None:
        nonlocal later
        if isinstance(event, ModelReady):
            shown.append((type(event.model).__name__, [m.epoch for m in event.history]))
            later += 1000.0

    checkpoints, stop = Checkpoints(tmp_path), [True, False]  # after the second epoch
    with pytest.raises(Interrupted):
        train(digits_spec, digits, emit=emit, should_stop=stop.pop, checkpoints=checkpoints)
    record = train(digits_spec, digits, emit=emit, checkpoints=checkpoints)
    assert shown == [(record.model_class, []), (record.model_class, [1, 2])]
    assert record.wall_seconds < 1000  # showing it is not the run's time


def test_the_best_weights_can_be_kept_alone(digits_spec: RunSpec, digits: Splits, tmp_path: Path) -> None:
    train(digits_spec, digits, checkpoints=Checkpoints(tmp_path, keep_best=True))
    assert {p.name for p in tmp_path.iterdir()} == {"best.pt"}


def test_checkpoints_hold_what_the_document_promises(digits_spec: RunSpec, digits: Splits, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=True)
    record = train(digits_spec, digits, checkpoints=checkpoints)
    state = checkpoint.read(checkpoints.best)
    model = build(digits_spec, digits.shape, digits.classes)
    model.load_state_dict(state["model_state_dict"])
    best = max(record.history, key=lambda m: m.test_acc or 0)
    assert state["metrics"]["best_test_acc"] == best.test_acc
    assert state["metrics"]["epoch"] == best.epoch
    assert state["epoch"] == best.epoch
    assert {"optimizer_state_dict", "scheduler_state_dict"} <= set(state)
    final = checkpoint.read(checkpoints.final)
    assert final["metrics"]["final_test_acc"] == record.final_test_acc
    assert final["scheduler_state_dict"]["last_epoch"] == 6


def test_bf16_autocast_keeps_weights_and_momentum_in_fp32(digits_spec: RunSpec, digits: Splits, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=True)
    spec = digits_spec.replace(model="cnn", precision="bf16", epochs=2)
    record = train(spec, digits, checkpoints=checkpoints)
    state = checkpoint.read(checkpoints.final)
    assert {t.dtype for t in state["model_state_dict"].values() if t.is_floating_point()} == {torch.float32}
    buffers = [s["momentum_buffer"] for s in state["optimizer_state_dict"]["state"].values()]
    assert {b.dtype for b in buffers} == {torch.float32}
    assert numbers(record) != numbers(train(spec.replace(precision="fp32"), digits))


@pytest.mark.cuda
def test_a_gpu_trains_as_the_cpu_does(digits_spec: RunSpec, cuda: torch.device) -> None:
    # A bare GPU machine has no scikit-learn and so no digits.
    gpu, cpu = (train(digits_spec, random_splits(digits_spec, 900, 797, str(each))) for each in (cuda, "cpu"))
    assert gpu.history[0].train_loss == pytest.approx(cpu.history[0].train_loss, rel=1e-3)
    assert gpu.environment["device"] == "cuda"
