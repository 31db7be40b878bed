"""Leftovers of killed attempts go, what is somebody else's stays. Locks, permissions, file systems without links."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from interplay import locks, notes
from interplay.cli.main import main
from interplay.executors.attempt import safe
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.store import files
from interplay.store.leases import Claims
from interplay.store.permissions import UnwritableError, check_writable
from interplay.store.store import Store
from interplay.train.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("notes_shown")

SPEC = RunSpec(dataset="digits", model="mlp", precision="fp32")
RECORD = RunRecord(SPEC, Status.FINISHED, (EpochMetrics(1, 0.1, 1.0, 50.0, 1.5, 60.0),))
CLEAN = ["history.jsonl", "record.json", "spec.json"]

OURS = ["last.pt", "tracked.json", "beat.0123456789abcdef.json", ".beat.0123456789abcdef.json.12.0a1b2c3d"]
OURS += [".record.json.77.00ff00ff", ".last.pt.12.123456789", ".history.jsonl.1.ab", ".tracked.json.99"]
THEIRS = [
    ".DS_Store",
    ".gitignore",
    ".record.json",
    ".notes.txt.12.0a1b2c3d",
    ".record.json.bak",
    "beat.it",
    "mine.txt",
]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "out")
    store.commit(RECORD)
    return store


def test_leftovers_of_a_finished_run_go_and_own_dot_files_of_the_user_stay(store: Store) -> None:
    folder = store.folder(SPEC.run_id)
    for name in OURS + THEIRS:
        (folder / name).write_text("x")
    store.reconcile()
    assert names(folder) == sorted(CLEAN + THEIRS)


def test_whoever_commits_removes_the_leftovers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.open(SPEC)
    claim = Claims(store.runs, "w").take(SPEC.run_id)
    assert claim is not None
    for name in OURS + THEIRS:
        (folder / name).write_text("x")
    assert safe(RECORD, store, Checkpoints(folder), claim).record is not None
    claim.release()
    assert names(folder) == sorted(CLEAN + THEIRS)


def test_an_unfinished_run_keeps_what_it_goes_on_from(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.open(SPEC)
    claim = Claims(store.runs, "w").take(SPEC.run_id)
    assert claim is not None
    claim.beat({})
    for name in OURS:
        (folder / name).write_text("x")
    store.clean(SPEC.run_id, claim.attempt)
    assert names(folder) == sorted(["spec.json", "claim.json", "last.pt", "tracked.json", f"beat.{claim.attempt}.json"])


def test_nothing_is_removed_through_a_link(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    store.folder(SPEC.run_id).rename(elsewhere)
    store.folder(SPEC.run_id).symlink_to(elsewhere)
    treasure = tmp_path / "treasure"
    treasure.write_text("gold")
    (elsewhere / "last.pt").write_text("x")
    store.reconcile()
    assert (elsewhere / "last.pt").exists(), "a folder that is a link is not ours to tidy"
    assert len(list(store.records())) == 1, "but it is read"

    other = Store(tmp_path / "other")
    other.commit(RECORD)
    (other.folder(SPEC.run_id) / "last.pt").symlink_to(treasure)
    (other.results.with_name(".last_commit")).unlink()
    (other.results.with_name(".last_commit")).symlink_to(treasure)
    other.aside.symlink_to(treasure)
    with other.results.open("a") as file:
        file.write("a row by hand\n")
    assert len(other.reconcile()) == 1
    second = SPEC.replace(seed=1)
    other.commit(RunRecord(second, Status.FINISHED))
    assert treasure.read_text() == "gold"
    assert other.aside.read_text() == "a row by hand\n"
    assert (other.folder(SPEC.run_id) / "last.pt").is_symlink()


def test_halves_of_a_table_go_at_the_next_start(store: Store) -> None:
    folder = store.results.parent
    for name in (".results.csv.4242.0a1b2c3d", "..last_commit.4242.0a1b2c3d", ".mine.csv.4242.0a1b2c3d"):
        (folder / name).write_text("half")
    store.reconcile()
    assert names(folder) == [".last_commit", ".mine.csv.4242.0a1b2c3d", ".results.lock", "results.csv"]


def test_an_old_half_of_a_page_goes_and_a_fresh_one_stays(store: Store) -> None:
    for name, age in (
        (".report.html.1.0a1b2c3d", 2 * 86_400),
        (".report.html.2.0a1b2c3d", 0),
        (".env.1.0a1b2c3d", 9e5),
    ):
        (store.root / name).write_text("half")
        os.utime(store.root / name, (time.time() - age,) * 2)
    store.reconcile()
    assert {name for name in names(store.root) if ".1." in name or ".2." in name} == {
        ".report.html.2.0a1b2c3d",
        ".env.1.0a1b2c3d",
    }


# -- file systems without hard links ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EINVAL])
def test_a_record_appears_whole_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "link", refuse)
    store = Store(tmp_path)
    claim = Claims(store.runs, "a")
    store.open(SPEC)
    mine = claim.take(SPEC.run_id)
    assert mine is not None
    assert Claims(store.runs, "b").take(SPEC.run_id) is None
    seen: list[int] = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == "record.json":
            seen.append(int(Path(target).exists()))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    assert store.commit(RECORD) is not None
    assert store.commit(RECORD) is None
    assert seen == [0], "no empty record at any time, and no record replaced"
    mine.release()
    assert names(store.folder(SPEC.run_id)) == CLEAN


def test_an_empty_claim_left_by_a_kill_without_hard_links_lapses(tmp_path: Path) -> None:
    from interplay.store.leases import Lease

    store = Store(tmp_path)
    (store.open(SPEC) / "claim.json").touch()
    claims = Claims(store.runs, "b", Lease(beat=0.01, lapse=0.05))
    assert claims.take(SPEC.run_id) is None
    while claims.take(SPEC.run_id) is None:
        time.sleep(0.01)


def test_a_claim_that_is_being_written_survives_a_cleaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody removes the unfinished file between its writing and its link: it is written again."""
    real, removed = os.link, []

    def link(source: Path, target: Path) -> None:
        if not removed:
            removed.append(Path(source))
            Path(source).unlink()
        real(source, target)

    monkeypatch.setattr(files.os, "link", link)
    assert files.write_once(tmp_path / "claim.json", "x")
    assert (tmp_path / "claim.json").read_text() == "x"
    assert names(tmp_path) == ["claim.json"]


# -- locks ------------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_that_another_process_holds_is_said_with_its_process(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    notes.forget()
    lock = store.results.with_name(".results.lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    ended = threading.Event()

    def rebuild() -> None:
        store.rebuild()
        ended.set()

    thread = threading.Thread(target=rebuild)
    thread.start()
    said = ""
    while "waiting for" not in said:
        said += capsys.readouterr().err
        time.sleep(0.02)
    assert not ended.is_set()
    holder.communicate("")
    thread.join()
    assert str(lock) in said
    if Path("/proc/locks").exists():
        assert f"process {holder.pid} " in said


def test_the_holder_on_another_machine_is_known_by_what_it_wrote(tmp_path: Path) -> None:
    with locks.locked(tmp_path / "lock"):
        pass
    owner = tmp_path / "lock.owner"
    assert f"process {os.getpid()} on " in locks.holder(tmp_path / "lock", owner)
    owner.write_text('{"pid": 7, "host": "node5"}')
    assert locks.holder(tmp_path / "lock", owner) == "process 7 on node5"
    for text in ("", "[]", '{"pid": "x"}', "[" * 100_000):
        owner.write_text(text)
        assert locks.holder(tmp_path / "lock", owner) == "another process"


def test_locks_lie_out_of_sight(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(20):
        spec = SPEC.replace(seed=seed)
        store.open(spec)
        claim = Claims(store.runs, "w").take(spec.run_id)
        assert claim is not None
        claim.release()
    assert all(len(name) == 16 for name in names(store.runs))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".locks", "runs"]


def test_a_claim_ends_under_the_lock_of_an_earlier_version_too(tmp_path: Path) -> None:
    """Two versions on one store: whoever ends a claim holds the lock that the other one would hold."""
    store = Store(tmp_path)
    store.open(SPEC)
    lock = store.runs / f".takeover.{SPEC.run_id[:2]}.lock"
    lock.touch()
    claim = Claims(store.runs, "new").take(SPEC.run_id)
    assert claim is not None
    released = threading.Event()

    def release() -> None:
        claim.release()
        released.set()

    with FileLock(lock):
        thread = threading.Thread(target=release)
        thread.start()
        assert not released.wait(0.2)
        assert (store.folder(SPEC.run_id) / "claim.json").exists()
    thread.join()
    assert not (store.folder(SPEC.run_id) / "claim.json").exists()


def test_a_takeover_by_an_earlier_version_at_the_same_moment_leaves_one_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier version makes its lock after we looked for it, and ends the claim that we just made."""
    import json

    from interplay.store import leases as module

    store = Store(tmp_path)
    folder = store.open(SPEC)
    dead = {"attempt": "dead", "worker": "w", "machine": module._machine(), "host": "h", "pid": 2**22 + 1}
    (folder / "claim.json").write_text(json.dumps(dead))
    real = module.write_once

    def write_once(path: Path, text: str, **how: bool) -> bool:
        made = real(path, text, **how)
        if path.exists() and json.loads(path.read_text())["attempt"] != "dead":
            (store.runs / f".takeover.{SPEC.run_id[:2]}.lock").touch()
            path.write_text(json.dumps({**dead, "attempt": "earlier", "pid": os.getpid()}))
        return made

    monkeypatch.setattr(module, "write_once", write_once)
    assert Claims(store.runs, "new").take(SPEC.run_id) is None


# -- permissions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["runs", "results", ".locks", "checkpoints", "logs"])
def test_a_file_where_a_folder_is_needed_is_refused_before_anything_is_trained(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    (tmp_path / name).write_text("x")
    with pytest.raises(UnwritableError, match=f"{tmp_path / name} cannot be written"):
        check_writable(store, further=["checkpoints", "logs"])
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", ["results.csv", "foreign_rows.csv", ".results.lock"])
def test_a_folder_where_a_file_is_needed_is_refused(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    (tmp_path / "results" / name).mkdir(parents=True)
    with pytest.raises(UnwritableError, match=name):
        check_writable(store)


def test_the_command_says_it_in_a_line_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results").write_text("x")
    words = ["run", "--dataset", "digits", "--model", "mlp", "--epochs", "1", "--device", "cpu", "--output_dir", "out"]
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert "out/results cannot be written" in shown
    assert not (tmp_path / "out" / "runs").exists()


def test_looking_at_what_may_be_written_leaves_nothing_behind(store: Store) -> None:
    before = names(store.root), names(store.results.parent), store.results.read_bytes()
    check_writable(store, [SPEC.run_id], ["checkpoints", "logs"])
    assert (names(store.root), names(store.results.parent), store.results.read_bytes()) == before
