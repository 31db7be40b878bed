from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from interplay.executors.attempt import safe
from interplay.executors.outcomes import End
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.leases import Claims, Heartbeat, Lease, LeaseLostError, claim_of
from interplay.store.store import Store
from interplay.train.checkpoint import Checkpoints

FAST = Lease(beat=0.05, lapse=0.4, hang=0.5)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    (tmp_path / "r").mkdir()
    return tmp_path


def foreign(runs: Path, **facts: object) -> None:
    """A claim by a worker on another machine, of which nothing but its beats can be known."""
    claim = {"attempt": "far", "worker": "w", "machine": "elsewhere", "host": "h", "pid": 1, "started": 0.0, **facts}
    (runs / "r" / "claim.json").write_text(json.dumps(claim))


def test_one_of_many_gets_the_run(runs: Path) -> None:
    found: list[object] = []
    barrier = threading.Barrier(16)

    def work() -> None:
        barrier.wait()
        found.append(Claims(runs, "w").take("r"))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in found) == 1


def test_a_released_run_can_be_taken_again(runs: Path) -> None:
    claim = Claims(runs, "a").take("r")
    assert claim is not None
    assert Claims(runs, "b").take("r") is None
    claim.release()
    assert Claims(runs, "b").take("r") is not None


def test_the_claim_of_a_dead_process_of_this_machine_is_taken_at_once(runs: Path) -> None:
    code = f"""
from pathlib import Path
from interplay.store.leases import Claims
assert Claims(Path({str(runs)!r}), "child").take("r")
print("taken", flush=True)
import time; time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"taken\n"
    assert Claims(runs, "b").take("r") is None
    child.send_signal(signal.SIGKILL)
    # Not even reaped yet: a zombie is dead, too.
    deadline = time.monotonic() + 60
    while (claim := Claims(runs, "b").take("r")) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert claim is not None
    child.wait()
    child.stdout.close()


def test_a_silent_worker_elsewhere_is_waited_for_by_the_watchers_own_clock(runs: Path) -> None:
    foreign(runs)
    claims = Claims(runs, "b", FAST)
    began = time.monotonic()
    assert claims.take("r") is None
    while (claim := claims.take("r")) is None:
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    assert time.monotonic() - began > FAST.lapse
    assert claim_of(runs / "r")["attempt"] == claim.attempt  # type: ignore[index]


def test_a_worker_elsewhere_that_beats_keeps_its_run_whatever_its_clock_says(runs: Path) -> None:
    foreign(runs)
    claims = Claims(runs, "b", FAST)
    for beat in range(12):
        (runs / "r" / "beat.far.json").write_text(json.dumps({"beat": beat}))
        os.utime(runs / "r" / "beat.far.json", (0, 0))  # a clock far off
        assert claims.take("r") is None
        time.sleep(FAST.lapse / 5)


def test_a_watcher_that_just_came_does_not_take_an_old_looking_claim(runs: Path) -> None:
    foreign(runs)
    os.utime(runs / "r" / "claim.json", (0, 0))
    assert Claims(runs, "b", FAST).take("r") is None


def test_two_watchers_of_a_lapsed_claim_do_not_both_get_it(runs: Path) -> None:
    foreign(runs)
    watchers = [Claims(runs, f"w{i}", FAST) for i in range(8)]
    for watcher in watchers:
        assert watcher.take("r") is None
    time.sleep(FAST.lapse * 1.5)
    found: list[object] = []
    barrier = threading.Barrier(8)

    def work(claims: Claims) -> None:
        barrier.wait()
        found.append(claims.take("r"))

    threads = [threading.Thread(target=work, args=(claims,)) for claims in watchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in found) == 1


def test_a_worker_that_lost_its_run_learns_it_and_leaves_the_new_claim_alone(runs: Path) -> None:
    old = Claims(runs, "a", FAST).take("r")
    assert old is not None
    heartbeat = Heartbeat(old, FAST)
    with heartbeat:
        foreign(runs, worker="elsewhere")
        time.sleep(FAST.beat * 4)
        with pytest.raises(LeaseLostError, match="taken over by elsewhere"):
            heartbeat.progress(epoch=1)
    assert claim_of(runs / "r")["attempt"] == "far"  # type: ignore[index]


def test_beats_cease_when_the_training_hangs(runs: Path) -> None:
    claim = Claims(runs, "a", FAST).take("r")
    assert claim is not None

    def beat() -> int:
        return int((claim_of(runs / "r") or {})["beat"])

    with Heartbeat(claim, FAST) as heartbeat:
        for epoch in range(12):
            heartbeat.progress(epoch=epoch)
            time.sleep(FAST.beat)
        alive = beat()
        assert alive > 3
        time.sleep(FAST.hang + 4 * FAST.beat)
        silent = beat()
        time.sleep(6 * FAST.beat)
        assert beat() == silent
        heartbeat.progress(epoch=13)
        time.sleep(4 * FAST.beat)
        assert beat() > silent
    assert claim_of(runs / "r") is None


def test_a_step_of_the_clock_does_not_make_the_living_look_dead(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Claims(runs, "a").take("r") is not None
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert claim_of(runs / "r")["dead"] is False  # type: ignore[index]
    assert Claims(runs, "b").take("r") is None


def test_an_impatient_watcher_waits_as_long_as_the_owner_asks(runs: Path) -> None:
    foreign(runs, lapse=30.0)
    claims = Claims(runs, "b", FAST)
    assert claims.take("r") is None
    time.sleep(FAST.lapse * 2)
    assert claims.take("r") is None


HOST = """
import sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
offset = float(sys.argv[2])
real = time.time
time.time = lambda: real() + offset
from interplay.store import store as module
class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(real() + offset, tz)
module.datetime = Clock
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.store import leases
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.leases import Claims, Heartbeat, Lease, LeaseLostError
from interplay.store.store import Store
leases._machine = lambda: f"host {offset}"   # of the other host nothing but its beats can be known
lease = Lease(beat=0.1, lapse=1.0, hang=60.0)
store = Store(Path(sys.argv[1]))
claims = Claims(store.runs, f"worker {offset}", lease)
for seed in range(8):
    spec = RunSpec(dataset="digits", seed=seed)
    store.open(spec)
    while not store.is_done(spec.run_id):
        claim = claims.take(spec.run_id)
        if claim is None:
            time.sleep(0.02)
            continue
        if store.is_done(spec.run_id):
            claim.release()
            break
        with Heartbeat(claim, lease):
            time.sleep(0.3)
            assert store.commit(RunRecord(spec, Status.FINISHED)) is not None, "it had the claim, and yet was second"
            print(seed, flush=True)
"""


def test_hosts_whose_clocks_differ_by_hours_share_runs_and_take_none_from_the_living(tmp_path: Path) -> None:
    """Leases rest on what each host sees change by its own monotonic clock; commits stay in one order all the same."""
    offsets = ["-36000", "0", "86400"]
    hosts = [
        subprocess.Popen([sys.executable, "-c", HOST, str(tmp_path), offset], stdout=subprocess.PIPE, text=True)
        for offset in offsets
    ]
    outs = [host.communicate(timeout=60)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0, 0]
    assert sorted(int(word) for out in outs for word in out.split()) == list(range(8))
    store = Store(tmp_path)
    stamps = [record.committed_at for record in store.records()]
    assert len(stamps) == 8
    text = store.results.read_text()
    assert stamps == sorted(stamps)
    assert store.rebuild() == []
    assert store.results.read_text() == text


def test_a_worker_that_wakes_up_after_its_lease_was_taken_commits_nothing(tmp_path: Path) -> None:
    """Fencing: the attempt is named in the claim, and the first record stands."""
    store, spec = Store(tmp_path), RunSpec(dataset="digits")
    folder = store.open(spec)
    slow = Claims(store.runs, "slow", FAST).take(spec.run_id)
    assert slow is not None
    owner = json.loads((folder / "claim.json").read_text())
    (folder / "claim.json").write_text(json.dumps({**owner, "machine": "elsewhere"}))
    quick = Claims(store.runs, "quick", FAST)
    while (claim := quick.take(spec.run_id)) is None:
        time.sleep(0.05)
    with pytest.raises(LeaseLostError):
        slow.beat({"epoch": 7})
    assert store.commit(RunRecord(spec, Status.FINISHED, wall_seconds=1.0)) is not None
    assert store.commit(RunRecord(spec, Status.FINISHED, wall_seconds=2.0)) is None
    slow.release()  # must not free what is another's now
    assert claim_of(folder)["attempt"] == claim.attempt  # type: ignore[index]
    (record,) = store.records()
    assert record.wall_seconds == 1.0
    assert len(store.results.read_text().splitlines()) == 2


def test_a_worker_that_wakes_up_leaves_its_successor_undisturbed(tmp_path: Path) -> None:
    """It slept after its last epoch. Its record may be right, but the run and its files are another's by now."""
    spec = RunSpec(dataset="digits", model="mlp", precision="fp32")
    store = Store(tmp_path)
    folder = store.open(spec)
    old = Claims(store.runs, "old").take(spec.run_id)
    assert old is not None
    (folder / "claim.json").unlink()  # it lapsed
    new = Claims(store.runs, "new").take(spec.run_id)
    assert new is not None
    for name in ("last.pt", ".last.pt.half"):
        (folder / name).write_text("of the new attempt")
    with pytest.raises(LeaseLostError, match="taken over by new"):
        safe(RunRecord(spec, Status.FINISHED), store, Checkpoints(folder, False), old)
    assert not store.is_done(spec.run_id)
    assert (folder / "last.pt").exists()
    assert (folder / ".last.pt.half").exists()
    assert safe(RunRecord(spec, Status.FINISHED), store, Checkpoints(folder, False), new).end is End.COMMITTED


def test_whoever_has_a_run_that_another_has_finished_learns_it(runs: Path) -> None:
    claim = Claims(runs, "late").take("r")
    assert claim is not None
    claim.check()
    (runs / "r" / "record.json").write_text("{}")
    with pytest.raises(LeaseLostError, match="finished by another"):
        claim.beat({})
