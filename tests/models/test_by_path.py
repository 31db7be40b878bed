"""Networks by import path: what names them, what they are given, what is refused."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from interplay import by_path
from interplay.errors import SpecError
from interplay.lab.run import run, run_study
from interplay.lab.settings import Settings
from interplay.models.build import build
from interplay.spec import RunSpec
from interplay.stack.grouping import stackable
from interplay.store.store import Store
from interplay.study.files import load

NETS = """
from torch import nn
import own_parts

def make(num_classes, inputs, width=16):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), own_parts.act(), nn.Linear(width, num_classes))

def image(classes, channels):
    body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

def wrong(inputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 7))

def frozen(classes, inputs):
    return make(classes, inputs).requires_grad_(False)

def nothing():
    return None

def breaks():
    return 1 / 0

def bad_forward(classes):
    return nn.Linear(3, classes)

number = 3
"""
STUDY = """
seeds = [1, 2]
[base]
dataset = "digits"
model = "own_nets:make"
epochs = 2
train_limit = 256
[[grid]]
model_args = [{width = 8}, {width = 12}]
"""

LIBRARIES: list[torch.library.Library] = []
"""Kept, since what a library defines goes with it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder with networks, known to this process while the test runs."""
    monkeypatch.setattr(by_path, "_folders", [])
    monkeypatch.setattr(by_path, "_loaded", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a change within one second would go unseen
    (tmp_path / "own_nets.py").write_text(NETS)
    (tmp_path / "own_parts.py").write_text("from torch.nn import ReLU as act\n")
    by_path.use(tmp_path)
    yield tmp_path
    for name in ("own_nets", "own_parts"):
        sys.modules.pop(name, None)


def spec_of(model: str, **knobs: object) -> RunSpec:
    found = RunSpec(dataset="digits", model=model, epochs=2, train_limit=256, precision="fp32", **knobs)  # type: ignore[arg-type]
    return found.replace(model_code=by_path.fingerprint(model))


def test_arguments_have_one_form() -> None:
    forms = ({"b": 1, "a": [2, 3]}, '{"a": [2, 3], "b": 1}', "b=1 a=[2,3]")
    assert {by_path.arguments(form) for form in forms} == {'{"a":[2,3],"b":1}'}
    assert by_path.arguments("act=relu") == '{"act":"relu"}'
    assert by_path.arguments({}) == by_path.arguments("") == ""
    for bad in ("width", "a=1 a=2", "[1]", {"a": object()}, {"a": float("nan")}, 3):
        with pytest.raises(SpecError, match="model_args"):
            by_path.arguments(bad)


def test_arguments_belong_to_import_paths_alone() -> None:
    with pytest.raises(SpecError, match="model_args is a knob of a network by import path"):
        RunSpec(model="cnn", model_args="width=3")
    assert "model_args" not in RunSpec().to_dict()


def test_a_model_that_is_no_path_is_refused() -> None:
    for bad in ("nets:", ":make", "a b:c", "../nets:make", "a::b"):
        with pytest.raises(SpecError, match="no import path"):
            RunSpec(model=bad)
    for file in ("nets.py:make", "/some/where/nets.py:make"):
        with pytest.raises(SpecError, match="names a file: write nets:make"):
            RunSpec(model=file)
    with pytest.raises(SpecError, match="did you mean 'resnet18'"):
        RunSpec(model="resnet17")


def test_arguments_and_code_make_other_runs(folder: Path) -> None:
    with pytest.raises(SpecError, match="no fingerprint yet"):
        _ = RunSpec(dataset="digits", model="own_nets:make").run_id
    first = spec_of("own_nets:make")
    assert RunSpec.from_dict(first.to_dict()) == first
    assert spec_of("own_nets:make", model_args="width=8").run_id != first.run_id
    (folder / "own_parts.py").write_text("from torch.nn import Tanh as act\n")  # of a module that it imports
    assert spec_of("own_nets:make").run_id != first.run_id
    (folder / "unrelated.py").write_text("x = 1\n")
    (folder / "own_parts.py").write_text("from torch.nn import ReLU as act\n")
    assert spec_of("own_nets:make").run_id == first.run_id


def test_an_update_of_a_package_that_a_network_imports_makes_no_other_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = folder / "site-packages"
    installed = site / "cv_nets-1.0.dist-info"
    installed.mkdir(parents=True)
    (site / "cv_nets.py").write_text("from torch.nn import ReLU as act\n")
    (installed / "top_level.txt").write_text("cv_nets\n")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    codes = set()
    for version in ("1.0", "1.1"):
        (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cv-nets\nVersion: {version}\n")
        (folder / "own_parts.py").write_text("from cv_nets import act\n")
        codes.add(spec_of("own_nets:make").model_code)
    assert len(codes) == 1


def test_what_the_data_decide_is_given_by_name(folder: Path) -> None:
    network = build(spec_of("own_nets:make", model_args="width=8"), (1, 8, 8), 10)
    assert [tuple(p.shape) for p in network.parameters()] == [(8, 64), (8,), (10, 8), (10,)]
    assert network.training
    again = build(spec_of("own_nets:make", model_args="width=8"), (1, 8, 8), 10)
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)  # drawn from the seed
    assert not stackable(spec_of("own_nets:make"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong", r"turns 2 images of 1x8x8 into a tensor of shape \(2, 7\); logits of shape \(2, 10\) are needed"),
        ("frozen", "returned Sequential, which has no trainable parameter"),
        ("nothing", "returned None, which is no torch.nn.Module"),
        ("breaks", "own_nets.py, line 22: ZeroDivisionError"),
        ("bad_forward", r"fails on images of 1x8x8: .* \(made with classes=10; others go into model_args\)"),
        ("number", "is 3, which cannot be called"),
        ("absent", "module own_nets has no absent"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(folder: Path, name: str, words: str) -> None:
    spec = RunSpec(dataset="digits", model=f"own_nets:{name}", epochs=2)
    with pytest.raises(SpecError, match=words) as error:
        run(spec, Settings(output_dir=folder / "out", device="cpu"))
    assert "\n" not in str(error.value)
    assert not (folder / "out").exists()


def test_a_module_that_does_not_load_is_named_with_its_line(folder: Path) -> None:
    (folder / "own_parts.py").write_text("x = 1\nraise ValueError('no')\n")
    with pytest.raises(SpecError, match=r"own_parts.py, line 2: ValueError: no"):
        build(spec_of("own_nets:make"), (1, 8, 8), 10)
    with pytest.raises(SpecError, match="no module missing_nets"):
        by_path.fingerprint("missing_nets:make")
    (folder / "own_parts.py").write_text("x = (\n")
    with pytest.raises(SpecError, match=r"own_parts.py, line 1"):
        by_path.fingerprint("own_nets:make")


def test_code_that_changed_since_the_plan_is_not_trained(folder: Path) -> None:
    spec = spec_of("own_nets:make")
    build(spec, (1, 8, 8), 10)
    (folder / "own_parts.py").write_text("from torch.nn import Tanh as act\n")
    with pytest.raises(SpecError, match="was planned with source:"):
        build(spec, (1, 8, 8), 10)
    network = build(spec_of("own_nets:make"), (1, 8, 8), 10)  # of the new code, in the same process
    assert any(isinstance(part, torch.nn.Tanh) for part in network)  # type: ignore[attr-defined]


@pytest.mark.parametrize("executor", ["inline", pytest.param("local", marks=pytest.mark.slow)])
def test_a_study_beside_its_networks(
    folder: Path, executor: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "s.toml").write_text(STUDY)
    settings = Settings(output_dir=tmp_path / "out", executor=executor, workers=2, log=False)
    run_study(load(folder / "s.toml"), settings)
    store = Store(tmp_path / "out")
    first = {record.spec.run_id: record for record in store.records()}
    assert len(first) == 4
    assert {record.spec.model_args for record in first.values()} == {'{"width":8}', '{"width":12}'}
    (folder / "own_nets.py").write_text(NETS.replace("width=16", "width=24"))
    caplog.set_level(logging.INFO, "interplay")
    caplog.clear()
    run_study(load(folder / "s.toml"), settings)
    assert "the code of own_nets:make has changed: 4 of the runs here are of source:" in caplog.text
    assert len(list(store.records())) == 8  # those of other code are other runs


@pytest.mark.parametrize("name", ["timm:resnet18d", "torchvision:resnet18"])
def test_networks_of_packages(name: str) -> None:
    package = name.partition(":")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is an optional package and is not installed")
    if not hasattr(torch.ops.torchvision, "nms"):  # beside a CPU build of torch its operators are not registered
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        LIBRARIES.append(library)
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    network = build(spec_of(name), (3, 32, 32), 10)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_package_that_is_not_there_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_path, "PACKAGES", ("no_such_package",))
    with pytest.raises(SpecError, match="pip install no_such_package"):
        by_path.fingerprint("no_such_package:net")
