"""Hypernetworks through the same loop, executor, table and figures as any other network."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from following import on_epoch
from torch.nn import functional

from interplay.cli.main import main
from interplay.data.batches import normalise
from interplay.data.splits import Splits
from interplay.models.build import build
from interplay.models.hypernet import HyperNetwork
from interplay.record import Status
from interplay.spec import RunSpec
from interplay.train.checkpoint import Checkpoints, load_checkpoint
from interplay.train.evaluate import evaluate
from interplay.train.instruments import kernel_norms
from interplay.train.loop import Interrupted, train

STUDY = """
question = "Does it run?"
[base]
dataset = "digits"
model = "hyper_resnet"
blocks_per_stage = 1
optimizer = "adam"
train_limit = 256
epochs = 1
schedule = "step"
milestones = [0.3, 0.6, 0.8]
gamma = 0.5
[[grid]]
lr = [0.001, 0.004]
weight_decay = [0.0, 5e-4]
"""


@pytest.fixture
def hyper_spec(digits_spec: RunSpec) -> RunSpec:
    return digits_spec.replace(model="hyper_resnet", blocks_per_stage=1, optimizer="adam", lr=0.004, epochs=3)


def built(spec: RunSpec, splits: Splits) -> HyperNetwork:
    model = build(spec, splits.shape, splits.classes)
    assert isinstance(model, HyperNetwork)
    return model


def test_it_learns_and_measures_its_kernels(hyper_spec: RunSpec, digits: Splits) -> None:
    measured = train(hyper_spec, digits, instruments=("kernel_norm", "hessian"))
    plain = train(hyper_spec, digits)
    assert [m.test_loss for m in plain.history] == [m.test_loss for m in measured.history]
    assert measured.status is Status.FINISHED
    assert measured.final_test_acc is not None
    assert measured.final_test_acc > 80
    assert (measured.model_class, measured.parameters) == ("HyperNetwork", 81_802)
    kernels = {name for name in measured.history[-1].instruments if name.startswith("kernel_norm/")}
    twin = kernel_norms(build(hyper_spec.replace(model="wide_resnet"), digits.shape, digits.classes))
    assert kernels == set(twin)
    assert len(kernels) == 1 + 6 + 2  # stem, generated, shortcuts


def test_kernel_norms_are_those_of_the_exported_network(hyper_spec: RunSpec, digits: Splits) -> None:
    model = built(hyper_spec, digits)
    state = model.export()
    expected = {f"kernel_norm/{n.removesuffix('.weight')}": t.norm().item() for n, t in state.items() if t.dim() == 4}
    assert kernel_norms(model) == pytest.approx(expected, rel=1e-5)


def test_evaluation_is_in_evaluation_mode_and_generates_once(
    hyper_spec: RunSpec, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public versions evaluate in training mode, and generate every kernel anew for each batch."""
    model = built(hyper_spec, digits).train()
    calls: list[int] = []
    model.generator.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr("interplay.train.evaluate.batch_size_for", lambda splits: 50)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = evaluate(model, digits.test, digits, torch.autocast("cpu", enabled=False))
    assert len(calls) == 1
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        logits = model(normalise(digits.test.images, digits.mean, digits.std))
    assert found[0] == pytest.approx(functional.cross_entropy(logits, digits.test.labels).item(), rel=1e-4)


@pytest.mark.parametrize("knobs", [{}, {"optimizer": "adamw", "kernel_decay": 1e-3, "normalize_embeddings": True}])
def test_an_interrupted_and_resumed_run_gives_the_same_bits(
    hyper_spec: RunSpec, digits: Splits, tmp_path: Path, knobs: dict[str, Any]
) -> None:
    """Public versions start again at epoch 0 with a new optimiser."""
    spec = hyper_spec.replace(**knobs)
    expected = train(spec, digits)
    parts = Checkpoints(tmp_path, keep=True)
    with pytest.raises(Interrupted):
        train(spec, digits, checkpoints=parts, **on_epoch(lambda m: m.epoch == 1))
    found = train(spec, digits, checkpoints=parts)
    assert [m.train_loss for m in found.history] == [m.train_loss for m in expected.history]
    assert [m.test_loss for m in found.history] == [m.test_loss for m in expected.history]

    # What was kept loads into a network whose weights come from another seed, and leaves as a plain one.
    model = built(spec.replace(seed=1), digits)
    load_checkpoint(parts.final, model)
    twin = spec.replace(model="wide_resnet", kernel_decay=0.0, normalize_embeddings=False)
    plain = build(twin, digits.shape, digits.classes)
    plain.load_state_dict(model.export())
    autocast = torch.autocast("cpu", enabled=False)
    loss, accuracy = evaluate(plain, digits.test, digits, autocast)
    assert loss == pytest.approx(found.final_test_loss, rel=1e-4)
    assert accuracy == pytest.approx(found.final_test_acc, abs=0.2)


def test_kernel_decay_keeps_kernels_smaller(hyper_spec: RunSpec, digits: Splits) -> None:
    spec = hyper_spec.replace(weight_decay=0.0, optimizer="sgd", lr=0.05)
    norms = []
    for decay in (0.0, 0.1):
        record = train(spec.replace(kernel_decay=decay), digits, instruments=("kernel_norm",))
        norms.append(record.history[-1].instruments["kernel_norm/stages.1.0.conv2"])
    assert norms[0] is not None
    assert norms[1] is not None
    assert norms[1] < 0.8 * norms[0]


def test_a_study_of_rate_and_decay_runs_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hyper.toml").write_text(STUDY)
    assert main(["study", "hyper.toml", "--executor", "inline"]) == 0
    assert "hyper: 4 runs committed" in capsys.readouterr().out
    with Path("outputs/results/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows].count("Adam+WD") == 2
    assert {row["status"] for row in rows} == {"finished"}
    assert all("blocks_per_stage=1 hyper_init=he" in row["own_knobs"] for row in rows)
    words = "run --dataset digits --model hyper_resnet --blocks_per_stage 1 --optimizer adam --train_limit 256"
    options = "--epochs 1 --lr 0.001 --wd 5e-4 --schedule step --milestones 0.3 0.6 0.8 --gamma 0.5 --no_use_amp"
    assert main([*words.split(), *options.split(), "--device", "cpu"]) == 0
    assert "This run is done already" in capsys.readouterr().err  # the study has run it under the same name
    assert main(["analyze", "outputs"]) == 0
