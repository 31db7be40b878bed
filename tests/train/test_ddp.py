"""Several processes that train one run give the numbers of one process with the whole batch."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from following import on_epoch
from torch import nn

from interplay.data.splits import Split, Splits
from interplay.errors import SpecError
from interplay.models.build import build
from interplay.record import RunRecord
from interplay.spec import RunSpec
from interplay.train.checkpoint import Checkpoints
from interplay.train.ddp import ALONE, Group, SharedBatchNorm, share_statistics
from interplay.train.loop import Interrupted, train

# SGD with small rates, at which rounding does not grow: Adam turns it into steps of full size where gradients are tiny.
SPECS = {
    "hyper_resnet": RunSpec(
        dataset="digits",
        model="hyper_resnet",
        blocks_per_stage=1,
        train_limit=250,
        epochs=3,
        batch_size=64,
        lr=0.002,
        precision="fp32",
    ),
    "mlp": RunSpec(dataset="digits", model="mlp", train_limit=250, epochs=3, batch_size=64, lr=0.05, precision="fp32"),
}

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from interplay.data.splits import load
from interplay.spec import RunSpec
from interplay.train.checkpoint import Checkpoints
from interplay.train.ddp import joined
from interplay.train.events import BatchSeen, EpochEnded
from interplay.train.loop import Interrupted, train

torch.set_num_threads(1)
asked = json.loads(Path(sys.argv[1]).read_text())
spec = RunSpec.from_dict(asked["spec"])
with joined("cpu") as group:
    seen, epochs = [], []
    def emit(event):
        if isinstance(event, BatchSeen):
            seen.append(event)
        elif isinstance(event, EpochEnded):
            epochs.append(event.metrics.epoch)
    checkpoints = Checkpoints(Path(asked["folder"]), keep=True) if asked.get("folder") else None
    # Only one of the processes asks to stop: all must.
    stop = lambda: group.rank == 1 and epochs[-1] == asked.get("stop")
    try:
        record = train(spec, load(spec, Path("/nonexistent")), emit=emit, should_stop=stop,
                       checkpoints=checkpoints, group=group)
    except Interrupted:
        record = None
    if group.leads and record is not None:
        Path(asked["out"]).write_text(json.dumps({"record": record.to_json(), "first": seen[0].batch_loss}))
threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
left = [name for name in threads if "gloo" in name]
if left:
    sys.exit(f"threads of the group are left: {left}")
"""


def two_processes(tmp_path: Path, spec: RunSpec, **asked: Any) -> dict[str, Any] | None:
    (tmp_path / "train.py").write_text(SCRIPT)
    out = tmp_path / "out.json"
    (tmp_path / "asked.json").write_text(json.dumps({"spec": spec.to_dict(), "out": str(out), **asked}))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launcher, str(tmp_path / "train.py"), str(tmp_path / "asked.json")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    if not out.exists():
        return None
    found: dict[str, Any] = json.loads(out.read_text())
    found["record"] = RunRecord.from_json(found["record"])
    return found


def losses(record: RunRecord) -> list[float | None]:
    return [value for m in record.history for value in (m.train_loss, m.test_loss)]


@pytest.fixture(scope="module")
def data() -> Splits:
    from interplay.data.splits import load

    return load(SPECS["mlp"], Path("/nonexistent"))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SPECS))
def test_two_processes_at_half_the_batch_equal_one(name: str, tmp_path: Path, data: Splits) -> None:
    """250 images in batches of 64 leave a last batch of 58: 29 and 29; batch norm sees whole batches."""
    spec = SPECS[name]
    alone = train(spec, data)
    found = two_processes(tmp_path, spec)
    assert found is not None
    assert losses(found["record"]) == pytest.approx(losses(alone), rel=1e-4)
    assert [m.test_acc for m in found["record"].history] == pytest.approx([m.test_acc for m in alone.history], abs=0.2)
    assert found["record"].environment["path"] == "2 processes"
    assert found["record"].run_id == alone.run_id


@pytest.mark.slow
def test_checkpoints_move_between_two_processes_and_one(tmp_path: Path, data: Splits) -> None:
    spec = SPECS["hyper_resnet"]
    alone = train(spec, data)
    # From two to one.
    assert two_processes(tmp_path, spec, folder=str(tmp_path / "a"), stop=2) is None
    resumed = train(spec, data, checkpoints=Checkpoints(tmp_path / "a"))
    assert losses(resumed) == pytest.approx(losses(alone), rel=1e-4)
    # And from one to two.
    with pytest.raises(Interrupted):
        train(spec, data, **on_epoch(lambda m: m.epoch == 1), checkpoints=Checkpoints(tmp_path / "b"))
    found = two_processes(tmp_path, spec, folder=str(tmp_path / "b"))
    assert found is not None
    assert losses(found["record"])[:2] == losses(alone)[:2]  # trained by one
    assert losses(found["record"]) == pytest.approx(losses(alone), rel=1e-4)
    names = torch.load(tmp_path / "b" / "final.pt", weights_only=True)["model_state_dict"]
    assert not any(name.startswith("module.") for name in names)


def test_shares_cover_every_image_once() -> None:
    images = torch.arange(10).view(10, 1, 1, 1)
    parts = [Group(rank, 3).split(Split(images, torch.arange(10))).labels.tolist() for rank in range(3)]
    assert sorted(i for part in parts for i in part) == list(range(10))
    assert ALONE.split(Split(images, torch.arange(10))).labels.tolist() == list(range(10))


def test_a_batch_without_an_image_for_each_process_is_refused() -> None:
    Group(0, 4).check(images=130, batch_size=63)
    with pytest.raises(SpecError, match="last batch of an epoch has 2 images for 4 processes"):
        Group(0, 4).check(images=130, batch_size=64)


def test_shared_batch_norm_alone_is_batch_norm(tmp_path: Path) -> None:
    """In a group of one process, forwards, backwards and running statistics."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        plain = nn.BatchNorm2d(3)
        plain.weight.data.uniform_()
        shared = SharedBatchNorm.of(copy.deepcopy(plain))
        x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1
        inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
        outputs = [layer(each) for layer, each in zip((plain, shared), inputs, strict=True)]
        for output in outputs:
            (output**3).sum().backward()
        assert torch.allclose(outputs[0], outputs[1], atol=1e-5)
        assert inputs[0].grad is not None
        assert inputs[1].grad is not None
        assert torch.allclose(inputs[0].grad, inputs[1].grad, atol=1e-3)
        for name, value in plain.state_dict().items():
            assert torch.allclose(value.double(), shared.state_dict()[name].double(), atol=1e-6), name
        assert torch.equal(plain.eval()(x), plain(x))
        assert torch.allclose(shared.eval()(x), plain(x), atol=1e-5)
    finally:
        torch.distributed.destroy_process_group()


def test_sharing_statistics_keeps_names_and_weights() -> None:
    spec = SPECS["hyper_resnet"]
    model = build(spec, (1, 8, 8), 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = share_statistics(model, Group(0, 2))
    assert sum(isinstance(m, SharedBatchNorm) for m in changed.modules()) == sum(
        isinstance(m, nn.BatchNorm2d) for m in build(spec, (1, 8, 8), 10).modules()
    )
    assert list(changed.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in changed.state_dict().items())
