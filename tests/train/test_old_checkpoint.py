"""A checkpoint written before the two loops shared their bookkeeping is still gone on from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from interplay.data.splits import load
from interplay.record import RunRecord
from interplay.spec import RunSpec
from interplay.stack.train import train_stack
from interplay.train.checkpoint import Checkpoints
from interplay.train.loop import train

SPEC = RunSpec(
    dataset="digits", model="mlp", momentum=0.0, epochs=3, batch_size=64, precision="fp32", label_noise=0.2
)  # the file holds its second epoch


@pytest.mark.parametrize("way", ["plain", "stacked"])
def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(tmp_path: Path, way: str) -> None:
    shutil.copy(Path(__file__).parent / "old_checkpoint" / "last.pt", tmp_path / "last.pt")
    data = load(SPEC, Path("/nonexistent"))
    fresh = train(SPEC, data)
    places = Checkpoints(tmp_path)
    record: RunRecord | None
    if way == "plain":
        record = train(SPEC, data, checkpoints=places)
    else:
        [record] = train_stack([SPEC], [data], checkpoints=[places])
    assert record is not None
    assert not (tmp_path / "last.pt.damaged").exists()
    assert len(record.environment["earlier_sittings"]) == 1
    assert [m.train_loss for m in record.history] == pytest.approx([m.train_loss for m in fresh.history], rel=1e-4)
