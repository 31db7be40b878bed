from __future__ import annotations

import inspect
import io
import os
import pickle
import random
import resource
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from following import on_epoch
from torch import nn

from interplay.data.splits import Splits
from interplay.models.resnet import cifar_resnet
from interplay.spec import RunSpec
from interplay.stack.train import train_stack
from interplay.train import checkpoint
from interplay.train.checkpoint import CheckpointError, Checkpoints, DamagedCheckpointError, load_checkpoint
from interplay.train.loop import Interrupted, train


class Planted:
    def __reduce__(self) -> object:
        return (os.system, ("touch planted",))


def test_code_in_a_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"schema": 1, "model_state_dict": Planted()}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        checkpoint.read(tmp_path / "bad.pt")
    assert not (tmp_path / "planted").exists()


def test_absent_cut_and_foreign_checkpoints_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoint.read(path)
    checkpoint.save(path, {"run_id": "a", "w": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DamagedCheckpointError, match="not a readable checkpoint"):
        checkpoint.read(path)
    torch.save({"schema": 99}, path)
    with pytest.raises(CheckpointError, match="schema 99, this version reads 1"):
        checkpoint.read(path)
    path.write_bytes(pickle.dumps([1, 2], protocol=2))
    with pytest.raises(CheckpointError):
        checkpoint.read(path)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may have more than 100 kB, as on a disk that fills up in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_write_leaves_the_old_checkpoint_and_no_litter(tmp_path: Path, small_files: None) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"step": 1})
    with pytest.raises(OSError, match="too large"):
        checkpoint.save(path, {"step": 2, "w": torch.zeros(100_000)})
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoint.read(path)["step"] == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, PermissionError])
def test_what_breaks_a_write_off_is_no_error_of_the_file(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch closes its archive on the way out, which fails in turn."""
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"step": 1})
    writes = iter(range(1000))

    class Broken(io.FileIO):
        def write(self, data: Any) -> int:
            if next(writes) == 12:
                raise error
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda path, mode: Broken(path, mode.replace("b", "")))
    with pytest.raises(error):
        checkpoint.save(path, {"step": 2, "w": torch.zeros(100_000)})
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoint.read(path)["step"] == 1


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(digits_spec: RunSpec, digits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the checkpoints of a run that stopped after two of six epochs."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Interrupted):
        train(digits_spec, digits, checkpoints=Checkpoints(folder, keep=True), **on_epoch(lambda m: m.epoch == 2))
    return folder


@pytest.fixture(scope="module")
def undisturbed(digits_spec: RunSpec, digits: Splits) -> list[float | None]:
    """The test losses of the same run without a stop."""
    return [m.test_loss for m in train(digits_spec, digits).history]


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    """A copy of ``stopped`` to damage."""
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def without_checksum(path: Path) -> None:
    """Make a checkpoint one of an earlier version, which had no comment."""
    content = path.read_bytes()[:-71]
    path.write_bytes(content[:-2] + b"\0\0")


def flipped(path: Path, place: int, bit: int) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


@pytest.mark.parametrize("earlier", [False, True], ids=["this version", "earlier version"])
def test_no_bit_of_a_checkpoint_can_change_what_is_read(folder: Path, earlier: bool) -> None:
    path, draw = folder / "last.pt", random.Random(1)
    if earlier:
        without_checksum(path)
    wanted, size, refused = checkpoint.read(path), path.stat().st_size, 0
    places = [draw.randrange(size) for _ in range(80)] + [0, size - 1, size - 71, size - 73, size - 80]
    for place in places:
        bit = draw.randrange(8)
        flipped(path, place, bit)
        try:
            found = checkpoint.read(path)
        except CheckpointError:
            refused += 1
        else:  # a date or a padding between entries: no content
            assert found["history"] == wanted["history"]
            for name, value in wanted["model_state_dict"].items():
                assert torch.equal(value, found["model_state_dict"][name])
        flipped(path, place, bit)
    assert refused > (60 if earlier else 80)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit in the middle": lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 64]) + b[len(b) // 2 + 1 :],
    "a half": lambda b: b[: len(b) // 2],
    "no end": lambda b: b[:-100],
    "no beginning": lambda b: b[100:],
    "zeros": lambda b: bytes(len(b)),
    "nothing": lambda b: b"",
    "a block of zeros": lambda b: b[:4096] + bytes(4096) + b[8192:],
    "twice": lambda b: b + b[: len(b) // 2],
}


@pytest.mark.parametrize("stacked", [False, True], ids=["single", "stack"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_run_goes_on_from_its_start(
    digits_spec: RunSpec,
    digits: Splits,
    folder: Path,
    undisturbed: list[float | None],
    damage: Callable[[bytes], bytes],
    stacked: bool,
) -> None:
    last, said, epochs = folder / "last.pt", [], []  # type: ignore[var-annotated]
    content = damage(last.read_bytes())
    last.write_bytes(content)
    checkpoints = Checkpoints(folder, say=said.append)
    if stacked:
        hear = on_epoch(lambda m: epochs.append(m.epoch))
        (record,) = train_stack([digits_spec], [digits], checkpoints=[checkpoints], **hear)
        assert record is not None
        assert [m.test_loss for m in record.history] == pytest.approx(undisturbed, rel=1e-4)
    else:
        record = train(digits_spec, digits, checkpoints=checkpoints, **on_epoch(lambda m: epochs.append(m.epoch)))
        assert [m.test_loss for m in record.history] == undisturbed
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert "earlier_sittings" not in record.environment
    assert len(said) == 1
    assert str(last) in said[0]
    assert "kept as last.pt.damaged. The run goes on from its start" in said[0]
    assert (folder / "last.pt.damaged").read_bytes() == content


def test_a_damaged_best_checkpoint_makes_a_run_that_keeps_it_start_again(
    digits_spec: RunSpec, digits: Splits, folder: Path, undisturbed: list[float | None]
) -> None:
    flipped(folder / "best.pt", 3000, 1)
    said: list[str] = []
    checkpoints = Checkpoints(folder, keep=True, say=said.append)
    record = train(digits_spec, digits, checkpoints=checkpoints)
    assert [m.test_loss for m in record.history] == undisturbed
    assert "best.pt.damaged" in said[0]
    best = max(record.history, key=lambda m: m.test_acc or 0.0)
    assert checkpoint.read(checkpoints.best)["epoch"] == best.epoch


def test_a_damaged_best_checkpoint_that_nobody_wants_costs_no_epoch(
    digits_spec: RunSpec, digits: Splits, folder: Path
) -> None:
    flipped(folder / "best.pt", 3000, 1)
    epochs: list[int] = []
    checkpoints = Checkpoints(folder, say=lambda text: None)
    train(digits_spec, digits, checkpoints=checkpoints, **on_epoch(lambda m: epochs.append(m.epoch)))
    assert epochs == [3, 4, 5, 6]


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(
    digits_spec: RunSpec, digits: Splits, folder: Path, undisturbed: list[float | None]
) -> None:
    without_checksum(folder / "last.pt")
    checkpoints = Checkpoints(folder, say=lambda text: pytest.fail(text))
    record = train(digits_spec, digits, checkpoints=checkpoints)
    assert [m.test_loss for m in record.history] == undisturbed
    assert len(record.environment["earlier_sittings"]) == 1


def test_torch_and_zip_read_a_checkpoint_with_its_checksum(folder: Path) -> None:
    path = folder / "last.pt"
    assert torch.load(path, weights_only=True)["epoch"] == 2
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"sha256:")


# -- checkpoints of other code -----------------------------------------------------------------------------------------


def other_code(name: str, path: Path) -> None:
    """A file that somebody may take for a checkpoint of this lab."""
    net = nn.Linear(2, 2)
    match name:
        case "module":
            torch.save(net, path)
        case "numpy scalars":
            torch.save({"net": net.state_dict(), "acc": np.float64(93.1)}, path)
        case "numpy arrays":
            torch.save({"net": net.state_dict(), "hist": np.arange(3)}, path)
        case "dictionary":
            torch.save({"net": net.state_dict(), "acc": 93.1, "epoch": 3}, path)
        case "weights":
            torch.save(net.state_dict(), path)
        case "list":
            torch.save([1, 2], path)
        case "jit":
            torch.jit.save(torch.jit.trace(net, torch.zeros(1, 2)), path)
        case "old format":
            torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
        case "lfs":
            path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
        case "safetensors":
            path.write_bytes((2).to_bytes(8, "little") + b"{}" + bytes(100))
        case "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("readme.txt", "nothing")
        case "bomb":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("x/data.pkl", bytes(10**7))
        case "tar":
            with tarfile.open(path, "w") as archive_:
                archive_.add(__file__, "test.py")
        case "text":
            path.write_text("epoch,loss\n1,2.3\n")
        case "page":
            path.write_text("<!DOCTYPE html><html><body>404</body></html>")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)


FOREIGN = {
    "module": r"objects of other code \(torch\.nn\.modules\.linear\.Linear\)",
    "numpy scalars": r"numbers or arrays of numpy \(numpy",
    "numpy arrays": r"numbers or arrays of numpy \(numpy",
    "dictionary": "not a checkpoint of this lab: it holds net, acc, epoch",
    "weights": r"bare weights \(2 tensors\), which model\.load_state_dict takes",
    "list": "it holds a list",
    "jit": "a TorchScript program",
    "old format": "the format that torch had before 1.6",
    "lfs": "a Git LFS pointer, .* git lfs pull",
    "safetensors": "a safetensors file",
    "zip": "a zip archive that torch.save has not written",
    "bomb": "a zip archive that torch.save has not written",
    "tar": "a tar archive",
    "text": "a text file",
    "page": "a web page",
    "folder": "no file but a folder",
    "pipe": "no file but a folder or a device",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", FOREIGN)
def test_a_checkpoint_of_other_code_is_named_in_our_own_words(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.pth"
    other_code(name, path)
    with pytest.raises(CheckpointError, match=FOREIGN[name]) as caught:
        load_checkpoint(path, nn.Linear(2, 2))
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert not any(
        word in text for word in ("weights_only", "WeightsUnpickler", "allowlist", "safe_globals", "pytorch.org")
    )


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a ResNet-8 with ten classes and the momentum of one step."""
    path = tmp_path_factory.mktemp("saved") / "x.pth"
    model = cifar_resnet(8, 10)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.zeros(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    checkpoint.save(
        path,
        {
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler": "CosineAnnealingLR",
            "scheduler_state_dict": scheduler.state_dict(),
        },
    )
    return path


MISFITS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "another head": (
        lambda: cifar_resnet(8, 100),
        r"linear\.weight is \[10, 64\] in the checkpoint and \[100, 64\] in the network; "
        r"linear\.bias is \[10\] in the checkpoint and \[100\] in the network$",
    ),
    "another stem": (lambda: cifar_resnet(8, 10, 1), r"conv1\.weight is \[16, 3, 3, 3\] .* \[16, 1, 3, 3\]"),
    "deeper": (
        lambda: cifar_resnet(14, 10),
        r"the checkpoint has no stages\.0\.1\.conv1\.weight \[16, 16, 3, 3\], .* more$",
    ),
    "another network": (
        lambda: nn.Linear(2, 2),
        r"the checkpoint has no weight \[2, 2\], bias \[2\]; the network has no conv1",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_names_the_tensors_and_leaves_the_network_as_it_was(saved: Path, name: str) -> None:
    make, message = MISFITS[name]
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"does not fit: .*{message}"):
        load_checkpoint(saved, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_wrapped_networks_and_plain_ones_fit_each_other(saved: Path, tmp_path: Path) -> None:
    model = nn.Sequential()
    model.module = cifar_resnet(8, 10)
    load_checkpoint(saved, model)
    state = checkpoint.read(saved)
    for name, value in state["model_state_dict"].items():
        assert torch.equal(value, model.state_dict()[f"module.{name}"])


def some_optimizers(kind: str) -> torch.optim.Optimizer:
    model = cifar_resnet(8, 10)
    parameters = list(model.parameters())
    match kind:
        case "adam":
            return torch.optim.Adam(parameters)
        case "two groups":
            return torch.optim.SGD([{"params": parameters[:3]}, {"params": parameters[3:]}], 0.1, momentum=0.9)
        case "fewer":
            return torch.optim.SGD(parameters[:-1], 0.1, momentum=0.9)
        case _:
            return torch.optim.SGD(cifar_resnet(8, 100).parameters(), 0.1, momentum=0.9)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("adam", "the optimiser is Adam with betas, eps; that of the checkpoint has momentum"),
        ("two groups", r"the optimiser has 3 and 20 parameters in its groups; that of the checkpoint has 23"),
        ("fewer", "the optimiser has 22 parameters in its groups; that of the checkpoint has 23"),
        (
            "another head",
            r"momentum_buffer of parameter 21 is \[10, 64\] in the checkpoint and the parameter \[100, 64\]",
        ),
    ],
)
def test_an_optimiser_that_does_not_fit_is_named(saved: Path, kind: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"does not fit: .*{message}"):
        load_checkpoint(saved, None, some_optimizers(kind))


def test_a_scheduler_of_another_kind_is_named(saved: Path) -> None:
    optimizer = torch.optim.SGD(cifar_resnet(8, 10).parameters(), 0.1, momentum=0.9)
    scheduler: Any = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    with pytest.raises(CheckpointError, match="the scheduler is StepLR; that of the checkpoint is CosineAnnealingLR"):
        load_checkpoint(saved, None, optimizer, scheduler)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_checkpoint_is_read_onto_the_cpu_so_that_counters_of_steps_stay_there(
    digits_spec: RunSpec, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """On a GPU torch's Adam reads each counter in each step: there the host would wait twice a parameter."""
    spec = digits_spec.replace(optimizer=optimizer, epochs=4, lr=0.01)
    with pytest.raises(Interrupted):
        train(spec, digits, checkpoints=Checkpoints(tmp_path), **on_epoch(lambda m: m.epoch == 2))
    places = []
    load = torch.load

    def watched(*args: Any, map_location: Any, **options: Any) -> Any:
        places.append(str(map_location))
        return load(*args, map_location=map_location, **options)

    monkeypatch.setattr(torch, "load", watched)
    record = train(spec, digits, checkpoints=Checkpoints(tmp_path))
    assert [m.epoch for m in record.history] == [1, 2, 3, 4]
    assert places == ["cpu"]
    assert list(inspect.signature(Checkpoints.standing).parameters) == ["self", "spec"]  # no device to read it onto
