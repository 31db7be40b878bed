"""Stacks against the plain loop: the same runs, one at a time."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from following import hearing, on_epoch, on_epoch_of
from scipy import stats

from interplay.data.splits import Splits, load
from interplay.executors.attempt import tracked
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.stack.train import LeaveStack, train_stack
from interplay.train import checkpoint
from interplay.train.checkpoint import Checkpoints
from interplay.train.events import BatchSeen, RecordReady
from interplay.train.loop import Interrupted, train
from interplay.train.names import InstrumentName

HEALTHY = [(0.05, 0.0, 0.9, 1), (0.02, 1e-3, 0.5, 2), (0.1, 5e-4, 0.0, 3), (0.05, 1e-4, 0.9, 1)]
"""Learning rate, decay, momentum and seed of runs that train well."""


def runs(base: RunSpec, settings: list[tuple[float, float, float, int]] = HEALTHY) -> list[RunSpec]:
    return [base.replace(lr=lr, weight_decay=wd, momentum=mu, seed=seed) for lr, wd, mu, seed in settings]


def data(specs: list[RunSpec]) -> list[Splits]:
    return [load(spec, Path("/nonexistent")) for spec in specs]


def assert_alike(found: RunRecord | None, expected: RunRecord, *, loss: float, accuracy: float = 0.0) -> None:
    """Losses within a relative tolerance, accuracies within some per cent; everything that is exact exactly.

    Sums in another order differ by 1e-7, until some epoch pushes a unit over the edge of its ReLU: 3e-3 was seen after
    eight epochs, at another epoch on another processor. So tolerances hold for two epochs, and a looser one after them;
    one below 1e-4 says that nothing is summed in another order.
    """
    assert found is not None
    assert (found.spec, found.status, found.reason) == (expected.spec, expected.status, expected.reason)
    assert (found.collapse, found.model_class, found.parameters) == (
        expected.collapse,
        expected.model_class,
        expected.parameters,
    )
    assert len(found.history) == len(expected.history)
    for one, other in zip(found.history, expected.history, strict=True):
        assert (one.epoch, one.lr) == (other.epoch, other.lr)
        if one.epoch > 2 and loss >= 1e-4:
            loss, accuracy = max(loss, 0.03), max(accuracy, 2.0)
        for name, tolerance in (("loss", {"rel": loss}), ("acc", {"abs": accuracy + 1e-9})):
            for split in ("train", "test", "val"):
                a, b = getattr(one, f"{split}_{name}"), getattr(other, f"{split}_{name}")
                assert (a is None) == (b is None)
                if a is not None:
                    assert a == pytest.approx(b, **tolerance), (one.epoch, split, name)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"train_limit": 500, "augment": "crop_flip"},
        {"optimizer": "sgdw", "decay_on": "weights"},
        {"optimizer": "adamw", "schedule_every": "step", "warmup_epochs": 1},
    ],
)
def test_an_mlp_of_a_stack_equals_the_run_alone(digits_spec: RunSpec, knobs: dict[str, Any]) -> None:
    """Noise and subsets by seed, a short last batch: 900 = 14 x 64 + 4."""
    settings = [(lr / 20, wd, mu, s) for lr, wd, mu, s in HEALTHY] if "adamw" in knobs.values() else HEALTHY
    specs = runs(digits_spec.replace(**knobs), settings)
    splits = data(specs)
    for found, *alone in zip(train_stack(specs, splits), specs, splits, strict=True):
        assert_alike(found, train(*alone), loss=1e-4, accuracy=0.3)


def test_a_stack_may_look_at_the_test_images_less_often(digits_spec: RunSpec) -> None:
    specs = runs(digits_spec)[:2]
    splits = data(specs)
    for found, *alone in zip(train_stack(specs, splits, test_every=4), specs, splits, strict=True):
        expected = train(*alone, test_every=4)
        assert [m.epoch for m in expected.history if m.test_acc is not None] == [4, 6]
        assert_alike(found, expected, loss=1e-4, accuracy=0.3)


def test_a_small_cnn_of_a_stack_equals_the_run_alone(digits_spec: RunSpec) -> None:
    """Rounding grows faster under batch norm: three digits over two epochs."""
    specs = runs(digits_spec.replace(model="cnn", epochs=2, augment="flip"))
    splits = data(specs)
    for found, *alone in zip(train_stack(specs, splits), specs, splits, strict=True):
        assert_alike(found, train(*alone), loss=1e-3, accuracy=0.4)


def test_a_residual_network_of_a_stack_equals_the_run_alone(digits_spec: RunSpec) -> None:
    specs = runs(digits_spec.replace(model="resnet8", epochs=1, train_limit=160, batch_size=32), HEALTHY[:2])
    splits = data(specs)
    for found, *alone in zip(train_stack(specs, splits), specs, splits, strict=True):
        assert_alike(found, train(*alone), loss=0.02, accuracy=2.0)


def test_numbers_depend_on_no_neighbour(digits_spec: RunSpec) -> None:
    """Grouped in whatever way, an MLP trains alike, so that a study may be stacked anew after every stop.

    With torch's x86 builds the bits are the same; other libraries may round a batch of another size differently.
    """
    specs = runs(digits_spec)
    together = train_stack(specs, data(specs))
    for parts in ([specs[:1], specs[1:]], [specs[:3], specs[3:]], [[specs[3], specs[0]], [specs[2], specs[1]]]):
        for part in parts:
            for record in train_stack(part, data(part)):
                assert record is not None
                same = together[specs.index(record.spec)]
                assert same is not None
                assert_alike(record, same, loss=1e-5)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_diverging_run_ends_by_the_rule_and_leaves_the_others_untouched(digits_spec: RunSpec, model: str) -> None:
    base = digits_spec.replace(model=model, epochs=3, schedule="constant")
    wild = (1e9 if model == "mlp" else 1e30, 0.0, 0.9, 4)
    mixed, calm = runs(base, [HEALTHY[0], wild, *HEALTHY[1:]]), runs(base)
    splits = data(mixed)
    ended: list[RunRecord] = []
    found = train_stack(mixed, splits, emit=hearing(RecordReady, lambda event: ended.append(event.record)))
    assert found[1] is not None
    assert found[1].status is Status.DIVERGED
    assert ended[0] is found[1]  # it is told as it happens
    assert_alike(found[1], train(mixed[1], splits[1]), loss=1.0)
    assert found[1].history[-1].train_loss is None
    for record, same in zip([found[0], *found[2:]], train_stack(calm, data(calm)), strict=True):
        assert same is not None
        assert_alike(record, same, loss=1e-6 if model == "mlp" else 1e-5)


def test_a_rule_that_looks_at_epochs_ends_one_run_of_a_stack(digits_spec: RunSpec) -> None:
    """Decay that destroys the weights: accuracy stays at chance, which shows after three epochs."""
    base = digits_spec.replace(epochs=8, schedule="constant")
    specs = runs(base, [HEALTHY[0], (0.1, 5.0, 0.0, 2)])
    splits = data(specs)
    found = train_stack(specs, splits)
    expected = [train(*each) for each in zip(specs, splits, strict=True)]
    assert expected[1].status is Status.DIVERGED
    for one, other in zip(found, expected, strict=True):
        assert_alike(one, other, loss=1e-4, accuracy=0.3)


def test_the_record_names_the_path_and_shares_the_time(digits_spec: RunSpec, digits: Splits) -> None:
    specs = runs(digits_spec, [(0.1, 0.0, 0.9, digits_spec.seed), (0.2, 0.0, 0.9, digits_spec.seed)])
    found = train_stack(specs, [digits] * 2, facts={"probe": "none"})
    for record in found:
        assert record is not None
        assert {"path": "fused", "stack": 2, "probe": "none"}.items() <= record.environment.items()
        assert record.wall_seconds == pytest.approx(sum(m.seconds for m in record.history))
        assert record.run_id == record.spec.run_id
        assert RunRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("optimizer", ["sgd", "sgds", "adam"])
@pytest.mark.parametrize(("first", "then"), [("stack", "single"), ("single", "stack"), ("stack", "stack")])
def test_an_interrupted_run_goes_on_either_way(
    digits_spec: RunSpec, tmp_path: Path, optimizer: str, first: str, then: str
) -> None:
    lr = 0.005 if optimizer == "adam" else 0.1
    specs = runs(digits_spec.replace(optimizer=optimizer), [(lr, 1e-3, 0.9, 1), (lr / 2, 0.0, 0.0, 2)])
    splits = data(specs)
    places = [Checkpoints(tmp_path / spec.run_id, keep=True) for spec in specs]

    def stop(metrics: EpochMetrics) -> bool:
        return metrics.epoch == 3

    if first == "stack":
        with pytest.raises(Interrupted, match="stopped after epoch 3"):
            train_stack(specs, splits, checkpoints=places, **on_epoch(stop))
    else:
        for spec, split, place in zip(specs, splits, places, strict=True):
            with pytest.raises(Interrupted):
                train(spec, split, checkpoints=place, **on_epoch(stop))
    if then == "stack":
        found = train_stack(specs, splits, checkpoints=places)
    else:
        found = [train(*each, checkpoints=place) for *each, place in zip(specs, splits, places, strict=True)]
    for record, spec, split, place in zip(found, specs, splits, places, strict=True):
        assert record is not None
        assert_alike(record, train(spec, split), loss=1e-4, accuracy=0.3)
        assert [e["path"] for e in record.environment["earlier_sittings"]] == [
            "fused" if first == "stack" else "single"
        ]
        assert checkpoint.read(place.final)["epoch"] == 6
        assert checkpoint.read(place.best)["metrics"]["best_test_acc"] == record.best_test_acc


def test_runs_that_stand_at_different_epochs_share_a_stack(digits_spec: RunSpec, tmp_path: Path) -> None:
    specs = runs(digits_spec, [*HEALTHY[:3]])
    splits = data(specs)
    places = [Checkpoints(tmp_path / spec.run_id) for spec in specs]
    for index, epoch in ((0, 4), (2, 1)):
        with pytest.raises(Interrupted):
            train(specs[index], splits[index], checkpoints=places[index], **on_epoch(lambda m, e=epoch: m.epoch == e))
    ends: list[str] = []
    found = train_stack(
        specs, splits, checkpoints=places, emit=hearing(RecordReady, lambda event: ends.append(event.record.run_id))
    )
    assert ends == [specs[0].run_id, specs[2].run_id, specs[1].run_id]
    for record, *alone in zip(found, specs, splits, strict=True):
        assert_alike(record, train(*alone), loss=1e-4, accuracy=0.3)


def test_a_checkpoint_every_so_often_survives_a_kill(digits_spec: RunSpec, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def killed(spec: RunSpec, metrics: EpochMetrics) -> None:
        if metrics.epoch == 4:
            raise Killed

    specs = runs(digits_spec)
    places = [Checkpoints(tmp_path / spec.run_id, every_seconds=0) for spec in specs]
    with pytest.raises(Killed):
        train_stack(specs, data(specs), checkpoints=places, **on_epoch_of(killed))
    assert [checkpoint.read(place.last)["epoch"] for place in places] == [3, 3, 3, 3]


def test_a_run_can_leave_and_the_others_go_on(digits_spec: RunSpec) -> None:
    specs = runs(digits_spec)

    def leave(spec: RunSpec, metrics: EpochMetrics) -> None:
        if spec is specs[1] and metrics.epoch == 2:
            raise LeaveStack

    found = train_stack(specs, data(specs), **on_epoch_of(leave))
    assert [record is None for record in found] == [False, True, False, False]
    alone = train(specs[2], data(specs)[2])
    assert_alike(found[2], alone, loss=1e-4, accuracy=0.3)


def test_batches_are_reported_for_each_run(digits_spec: RunSpec) -> None:
    specs = runs(digits_spec.replace(batch_size=10, epochs=2), HEALTHY[:2])
    seen: dict[RunSpec, list[BatchSeen]] = {spec: [] for spec in specs}
    found = train_stack(specs, data(specs), emit=hearing(BatchSeen, lambda event: seen[event.spec].append(event)))
    for record, spec in zip(found, specs, strict=True):
        assert record is not None
        assert [(b.epoch, b.batch) for b in seen[spec] if b.batch in (50, 90)] == [(1, 50), (1, 90), (2, 50), (2, 90)]
        ends = [b for b in seen[spec] if b.batch == 90]
        assert [b.loss for b in ends] == [m.train_loss for m in record.history]
        assert [b.lr for b in ends] == [m.lr for m in record.history]


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_instruments_and_the_rows_of_trackers_are_those_of_runs_that_train_alone(
    digits_spec: RunSpec, model: str
) -> None:
    base = digits_spec.replace(model=model, batch_size=10, epochs=2, train_limit=600, val_split=0, lr=0.01)
    specs = runs(base, [(0.01, 1e-3, 0.9, 1), (0.02, 0.0, 0.5, 2), (0.01, 0.0, 0.0, 2)])
    names = get_args(InstrumentName)
    heard: dict[RunSpec, list[dict[str, float]]] = {spec: [] for spec in specs}
    seen = hearing(BatchSeen, lambda event: heard[event.spec].append(tracked(event)) if event.is_logged else None)
    found = train_stack(specs, data(specs), instruments=names, emit=seen, logged=True)
    for record, spec, splits in zip(found, specs, data(specs), strict=True):
        rows: list[dict[str, float]] = []
        emit = hearing(BatchSeen, lambda event, rows=rows: rows.append(tracked(event)) if event.is_logged else None)
        alone = train(spec, splits, instruments=names, emit=emit)
        assert record is not None
        assert len(rows) == 4
        assert [row.keys() for row in heard[spec]] == [row.keys() for row in rows]
        for one, other in zip(heard[spec], rows, strict=True):
            assert one == pytest.approx(other, rel=1e-3)
        for one, other in zip(record.history, alone.history, strict=True):
            assert one.instruments.keys() == other.instruments.keys()
            assert {name.split("/")[0] for name in one.instruments} == set(names) - (
                {"kernel_norm"} if model == "mlp" else set()
            )
            ours, theirs = dict(one.instruments), dict(other.instruments)
            # Power iteration ends once a step changes less than 1e-3; rounding decides which step that is.
            assert ours.pop("hessian") == pytest.approx(theirs.pop("hessian"), rel=1e-2)
            assert ours == pytest.approx(theirs, rel=1e-3)


def test_instruments_change_no_number_of_a_stack(digits_spec: RunSpec) -> None:
    specs = runs(digits_spec.replace(epochs=2))
    plain = train_stack(specs, data(specs))
    measured = train_stack(specs, data(specs), instruments=get_args(InstrumentName))
    for one, other in zip(plain, measured, strict=True):
        assert one is not None
        assert other is not None
        assert [(m.train_loss, m.test_loss) for m in one.history] == [
            (m.train_loss, m.test_loss) for m in other.history
        ]


def test_runs_of_different_kinds_are_refused(digits_spec: RunSpec, digits: Splits) -> None:
    for other in (digits_spec.replace(batch_size=32), digits_spec.replace(dampening=0.1)):
        with pytest.raises(ValueError, match="differ in lr"):
            train_stack([digits_spec, other], [digits] * 2)


def test_bf16_keeps_weights_in_fp32(digits_spec: RunSpec, tmp_path: Path) -> None:
    specs = runs(digits_spec.replace(model="cnn", precision="bf16", epochs=1), HEALTHY[:2])
    places = [Checkpoints(tmp_path / spec.run_id, keep=True) for spec in specs]
    splits = data(specs)
    found = train_stack(specs, splits, checkpoints=places)
    for record, place, *alone in zip(found, places, specs, splits, strict=True):
        state = checkpoint.read(place.final)["model_state_dict"]
        assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float32}
        assert_alike(record, train(*alone), loss=0.05, accuracy=5.0)


@pytest.mark.slow
def test_over_seeds_accuracies_agree_in_distribution(digits_spec: RunSpec) -> None:
    """Sixteen seeds each way, other seeds so that the two samples are independent: Welch's t-test on final accuracy."""
    spec = digits_spec.replace(epochs=15, lr=0.1, label_noise=0.4)
    single = [train(each, load(each, Path("/nonexistent"))) for each in (spec.replace(seed=s) for s in range(16))]
    others = [spec.replace(seed=100 + s) for s in range(16)]
    stacked = train_stack(others, data(others))
    samples = [[r.final_test_acc for r in records if r is not None] for records in (single, stacked)]
    assert [len(sample) for sample in samples] == [16, 16]
    assert stats.ttest_ind(*samples, equal_var=False).pvalue > 0.001
    assert stats.ks_2samp(*samples).pvalue > 0.001


@pytest.mark.slow  # Inductor compiles for most of a minute
def test_what_is_compiled_trains_as_what_is_not(digits_spec: RunSpec) -> None:
    if shutil.which("g++") is None and shutil.which("c++") is None:
        pytest.skip("Inductor needs a C++ compiler here, and there is none")
    specs = runs(digits_spec.replace(model="cnn", epochs=2, train_limit=300))[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own modules, on their first import
        (found,) = train_stack(specs, data(specs), path="compiled")
    assert_alike(found, train(specs[0], data(specs)[0]), loss=1e-4, accuracy=1.0)
    assert found is not None
    assert (found.environment["path"], found.environment["stack"]) == ("compiled", 1)
