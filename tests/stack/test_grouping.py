from __future__ import annotations

from interplay.models.build import build, parameter_count
from interplay.spec import RunSpec
from interplay.stack.grouping import stack_key, stackable, stacks
from interplay.stack.memory import bytes_per_network, fitting

BASE = RunSpec(dataset="digits", model="mlp", epochs=3)


def test_runs_that_differ_in_their_own_knobs_share_a_stack() -> None:
    for change in ({"lr": 0.2}, {"weight_decay": 0.0}, {"momentum": 0.0}, {"seed": 7}):
        assert stack_key(BASE.replace(**change)) == stack_key(BASE)


def test_every_other_difference_keeps_runs_apart() -> None:
    changes = [
        {"model": "cnn"},
        {"dataset": "cifar10"},
        {"batch_size": 64},
        {"epochs": 4},
        {"schedule": "linear"},
        {"schedule_every": "step"},
        {"warmup_epochs": 1},
        {"label_noise": 0.1},
        {"train_limit": 500},
        {"val_split": 100},
        {"augment": "flip"},
        {"optimizer": "sgdw"},
        {"nesterov": True},
        {"decay_on": "weights"},
        {"precision": "fp32"},
    ]
    keys = [stack_key(BASE.replace(**change)) for change in changes]
    assert len({*keys, stack_key(BASE)}) == len(changes) + 1


def test_runs_without_a_stacked_form_go_alone() -> None:
    alone = [BASE.replace(model="hyper_resnet"), BASE.replace(dampening=0.5)]
    assert not any(stackable(spec) for spec in alone)
    assert [stack_key(spec) for spec in alone] == [None, None]
    assert stacks([alone[1], alone[1].replace(seed=1)], 8) == [[alone[1]], [alone[1].replace(seed=1)]]


def test_a_study_falls_into_even_stacks_of_one_kind() -> None:
    runs = [BASE.replace(lr=0.01 * (i + 1), batch_size=size) for i in range(9) for size in (32, 64)]
    found = stacks(runs, 4)
    assert [len(stack) for stack in found] == [3, 3, 3, 3, 3, 3]
    assert all(len({stack_key(spec) for spec in stack}) == 1 for stack in found)
    assert sorted(spec.run_id for stack in found for spec in stack) == sorted(spec.run_id for spec in runs)
    assert stacks(runs[:2], 1) == [[runs[0]], [runs[1]]]
    assert stacks([], 4) == []


def test_memory_bounds_a_stack() -> None:
    spec = BASE.replace(batch_size=100)
    weights = parameter_count(build(spec, (1, 8, 8), 10))
    # The MLP's layers have 128, 128 and 10 outputs.
    assert bytes_per_network(spec, (1, 8, 8), 10) == 4 * (4 * weights + 3 * 266 * 100)
    each = bytes_per_network(spec, (1, 8, 8), 10)
    assert fitting(spec, (1, 8, 8), 10, 2 * 7 * each) == 7
    assert fitting(spec, (1, 8, 8), 10, 0) == 1
    assert bytes_per_network(spec.replace(batch_size=200), (1, 8, 8), 10) > each
