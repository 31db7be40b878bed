from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from interplay.by_path import BY_PATH
from interplay.dataset_facts import DATASETS
from interplay.errors import SpecError
from interplay.spec import RunSpec, choices, knob_names

# One valid value per knob that differs from the default: each must change the identity.
OTHER = {
    "dataset": "cifar10",
    "fingerprint": "cifar100:modified",
    "train_limit": 1000,
    "val_split": 100,
    "label_noise": 0.1,
    "augment": "none",
    "model": "mlp",
    "model_args": '{"width":8}',
    "model_code": "source:1",
    "widening": 2,
    "blocks_per_stage": 1,
    "hyper_init": "original",
    "kernel_decay": 1e-4,
    "normalize_embeddings": True,
    "optimizer": "sgdw",
    "lr": 0.2,
    "weight_decay": 1e-3,
    "momentum": 0.5,
    "dampening": 0.1,
    "nesterov": True,
    "beta2": 0.99,
    "eps": 1e-6,
    "decay_on": "weights",
    "batch_size": 64,
    "epochs": 50,
    "schedule": "linear",
    "schedule_every": "step",
    "warmup_epochs": 5,
    "milestones": (0.3, 0.6),
    "gamma": 0.5,
    "precision": "fp32",
    "seed": 43,
}


def test_defaults_are_the_documented_recipe() -> None:
    spec = RunSpec()
    assert (spec.dataset, spec.model, spec.batch_size, spec.epochs, spec.seed) == ("cifar100", "resnet18", 128, 100, 42)
    assert (spec.lr, spec.weight_decay, spec.momentum, spec.nesterov) == (0.1, 5e-4, 0.9, False)
    assert (spec.schedule, spec.schedule_every, spec.warmup_epochs) == ("cosine", "epoch", 0)
    assert (spec.optimizer, spec.decay_on, spec.augment, spec.precision) == ("sgd", "all", "crop_flip", "bf16")


@pytest.mark.parametrize("knob", knob_names())
def test_every_knob_enters_the_identity(knob: str) -> None:
    only = RunSpec.__dataclass_fields__[knob].metadata["only"]
    given = {chooser: "own:net" if words is BY_PATH else words[0] for chooser, words in only.items()}
    base = RunSpec(**given, **({"model_code": "source:0"} if only.get("model") is BY_PATH else {}))
    assert base.replace(**{knob: OTHER[knob]}).run_id != base.run_id


@pytest.mark.parametrize(
    ("knobs", "run_id"),
    [
        ({}, "b5ec18d856ef535b"),
        (
            {"dataset": "digits", "model": "mlp", "label_noise": 0.4, "epochs": 60, "lr": 0.05, "weight_decay": 0.01},
            "8b176e7b157b3d94",
        ),
        (
            {
                "dataset": "cifar10",
                "model": "resnet20",
                "optimizer": "sgdw",
                "schedule": "step",
                "milestones": (0.3, 0.6),
                "nesterov": True,
                "seed": 7,
            },
            "a80ce531821ec736",
        ),
        (
            {"model": "resnet8", "train_limit": 10_000, "epochs": 15, "precision": "fp32"},
            "26f09d7b562468c6",
        ),
        ({"model": "cnn", "optimizer": "sgds", "decay_on": "weights"}, "34b0ef5f11fdb5f3"),
    ],
)
def test_runs_of_earlier_versions_keep_their_names(knobs: dict[str, object], run_id: str) -> None:
    """These were computed before there were knobs of some models only: stores in use hold runs under such names."""
    assert RunSpec(**knobs).run_id == run_id  # type: ignore[arg-type]


def test_knobs_of_other_models_and_optimisers_are_stored_nowhere_and_need_not_be_there() -> None:
    plain = RunSpec().to_dict()
    assert len(plain) == 23
    assert not {"widening", "hyper_init", "beta2"} & set(plain)
    assert RunSpec.from_dict(plain) == RunSpec()
    assert RunSpec().own_knobs == {}

    hyper = RunSpec(model="hyper_resnet", optimizer="adam", widening=2)
    assert set(hyper.own_knobs) == {
        "widening",
        "blocks_per_stage",
        "hyper_init",
        "kernel_decay",
        "normalize_embeddings",
        "beta2",
        "eps",
    }
    assert RunSpec.from_dict(hyper.to_dict()) == hyper
    values = hyper.to_dict()
    del values["kernel_decay"]
    with pytest.raises(SpecError, match="lacks kernel_decay"):
        RunSpec.from_dict(values)
    assert set(hyper.replace(model="wide_resnet").own_knobs) == {"widening", "blocks_per_stage", "beta2", "eps"}


def test_identity_is_the_same_in_another_process_and_under_another_hash_seed() -> None:
    code = "from interplay import RunSpec; print(RunSpec(lr=0.3, milestones=(0.3, 0.6)).run_id)"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {RunSpec(lr=0.3, milestones=(0.3, 0.6)).run_id}


def test_equal_numbers_are_one_run() -> None:
    assert RunSpec(lr=1).run_id == RunSpec(lr=1.0).run_id
    assert RunSpec(lr=0.1 * 3).run_id == RunSpec(lr=0.3).run_id
    assert RunSpec(batch_size=64.0).run_id == RunSpec(batch_size=64).run_id  # type: ignore[arg-type]
    assert RunSpec(lr=0.3).run_id != RunSpec(lr=0.3000001).run_id


def test_a_users_file_is_known_by_its_content_not_by_its_path() -> None:
    here = RunSpec(dataset="a.npz", fingerprint="npz:1")
    assert here.run_id == RunSpec(dataset="elsewhere/b.npz", fingerprint="npz:1").run_id
    assert here.run_id != RunSpec(dataset="a.npz", fingerprint="npz:2").run_id
    with pytest.raises(SpecError, match="no fingerprint"):
        _ = RunSpec(dataset="a.npz").run_id


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"lr": -0.1}, "lr must be greater than 0"),
        ({"lr": 0}, "lr must be greater than 0"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"lr": "0.1"}, "lr must be a finite number"),
        ({"weight_decay": -1}, "weight_decay must be 0 or greater"),
        ({"momentum": 1.0}, "momentum must be in"),
        ({"batch_size": 0}, "batch_size must be 1 or greater"),
        ({"batch_size": 1.5}, "batch_size must be a whole number"),
        ({"batch_size": 50_001}, "batch_size 50001 is larger than the 50000 training images"),
        ({"batch_size": 128, "train_limit": 100}, "batch_size 128 is larger than the 100"),
        ({"train_limit": 50_000, "val_split": 1}, "train_limit 50000 exceeds the 49999"),
        ({"val_split": 50_000}, "leaves no training image"),
        ({"epochs": 0}, "epochs must be 1 or greater"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"warmup_epochs": 100}, "warmup_epochs must be in"),
        ({"label_noise": 1.5}, "label_noise must be in"),
        ({"milestones": (0.7, 0.3)}, "milestones must be rising"),
        ({"nesterov": True, "momentum": 0}, "nesterov needs momentum"),
        ({"dampening": 0.1, "momentum": 0}, "dampening acts on the momentum"),
        (
            {"model": "resnet81"},
            "did you mean 'resnet8'.*allowed: cnn, hyper_resnet, mlp, resnet18, resnet20, resnet8, resnet8_s2",
        ),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'; did you mean 'cifar10"),
        ({"optimizer": "adams"}, "unknown optimizer 'adams'; did you mean 'adam'"),
        ({"widening": 2}, "widening is a knob of wide_resnet and hyper_resnet; model resnet18 has none"),
        ({"model": "wide_resnet", "kernel_decay": 0.1}, "kernel_decay is a knob of hyper_resnet; model wide_resnet"),
        ({"beta2": 0.9}, "beta2 is a knob of adam and adamw; optimizer sgd has none .leave it at 0.999"),
        ({"optimizer": "adam", "beta2": 1}, "beta2 must be in"),
        ({"optimizer": "adam", "eps": 0}, "eps must be greater than 0"),
        ({"optimizer": "adam", "nesterov": True}, "knobs of the SGD family; adam has neither"),
        ({"optimizer": "adamw", "dampening": 0.1}, "knobs of the SGD family; adamw has neither"),
        ({"model": "hyper_resnet", "widening": 0}, "widening must be 1 or greater"),
        ({"model": "hyper_resnet", "blocks_per_stage": 1.5}, "blocks_per_stage must be a whole number"),
        ({"model": "hyper_resnet", "kernel_decay": -1}, "kernel_decay must be 0 or greater"),
        ({"model": "hyper_resnet", "hyper_init": "xavier"}, "unknown hyper_init 'xavier'; allowed: he, original"),
        ({"model": "hyper_resnet", "normalize_embeddings": 1}, "normalize_embeddings must be true or false"),
        ({"seed": -1}, "seed must be in"),
    ],
)
def test_impossible_values_are_refused_with_the_rule(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        RunSpec(**knobs)  # type: ignore[arg-type]


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunSpec().lr = 1.0  # type: ignore[misc]


def test_round_trip_and_no_silent_defaults() -> None:
    spec = RunSpec(dataset="digits", lr=0.3, milestones=(0.2, 0.9))
    values = json.loads(json.dumps(spec.to_dict()))
    assert RunSpec.from_dict(values) == spec
    assert RunSpec.from_dict(values).run_id == spec.run_id
    del values["momentum"]
    with pytest.raises(SpecError, match="lacks momentum"):
        RunSpec.from_dict(values)


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="unknown key 'weight_decai'; did you mean 'weight_decay'"):
        RunSpec.build({"weight_decai": 1e-4})


def test_replacing_the_dataset_takes_its_own_fingerprint_and_augmentation() -> None:
    spec = RunSpec(dataset="cifar100").replace(dataset="digits")
    assert (spec.fingerprint, spec.augment) == (DATASETS["digits"].fingerprint, "none")
    assert RunSpec().replace(lr=0.5).fingerprint == DATASETS["cifar100"].fingerprint


@pytest.mark.parametrize(
    ("knobs", "label"),
    [
        ({"momentum": 0, "weight_decay": 0}, "SGD"),
        ({"momentum": 0}, "SGD+WD"),
        ({}, "SGDM+WD"),
        ({"weight_decay": 0}, "SGDM"),
        ({"optimizer": "sgdw"}, "SGDMW+WD"),
        ({"optimizer": "sgds", "momentum": 0}, "SGDS+WD"),
        ({"optimizer": "adam"}, "Adam+WD"),
        ({"optimizer": "adamw", "weight_decay": 0}, "AdamW"),
    ],
)
def test_method_labels(knobs: dict[str, object], label: str) -> None:
    assert RunSpec(**knobs).method == label  # type: ignore[arg-type]


def test_decay_gain_by_convention() -> None:
    assert RunSpec(momentum=0.9).decay_gain == pytest.approx(0.1)
    assert RunSpec(momentum=0.9, optimizer="sgds").decay_gain == pytest.approx(0.1)
    assert RunSpec(momentum=0.9, optimizer="sgdw").decay_gain == 1
    assert RunSpec(momentum=0.9, dampening=0.9).decay_gain == pytest.approx(1)
    assert RunSpec(optimizer="adamw").decay_gain == 1
    assert RunSpec(optimizer="adam").decay_gain is None


def test_streams_are_independent_of_each_other() -> None:
    seeds = {RunSpec(seed=s).stream(name, i) for s in (1, 2, 12) for name in ("order", "init") for i in (1, 2, 21)}
    assert len(seeds) == 18
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_choices_cover_every_literal_knob() -> None:
    words = {"model", "optimizer", "schedule", "schedule_every", "augment", "decay_on", "precision", "hyper_init"}
    assert set(choices()) == words
