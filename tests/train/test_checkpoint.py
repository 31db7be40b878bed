from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from interplay.train import checkpoint
from interplay.train.checkpoint import CheckpointError


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
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        checkpoint.read(path)
    torch.save({"schema": 99}, path)
    with pytest.raises(CheckpointError, match="schema 99, this version reads 1"):
        checkpoint.read(path)
    path.write_bytes(pickle.dumps([1, 2], protocol=2))
    with pytest.raises(CheckpointError):
        checkpoint.read(path)


def test_a_failed_write_leaves_the_old_checkpoint_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"step": 1})

    def full_disk(state: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {"step": 2})
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoint.read(path)["step"] == 1
