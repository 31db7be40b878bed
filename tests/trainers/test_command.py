"""A command as a trainer: what it is given, how it is read, stopped, and never left behind."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from trial_lab import Lab, alive

from interplay import run_study
from interplay.executors.outcomes import End
from interplay.lab.settings import RunFailedError
from interplay.record import Status
from interplay.study.study import Study
from interplay.trainers import command, keeper
from interplay.trial import TrainerIdentity, Trial, TrialOptions


def test_what_it_is_given(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-of-the-slot")
    trial = lab.trial(
        """
        import json, os, sys
        print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "test_acc": 1, **dict(os.environ)}))
        """,
        '--lr {lr} --deep={deep} --name "{name}" {seed} {run_dir} {run_id} {spec}',
        {"lr": 1e-5, "deep": True, "name": "a 'b' \"c\""},
        environment=(("MINE", "lr is {lr}"),),
    )
    assert lab.record(trial).status is Status.FINISHED
    seen = json.loads(lab.text(trial, "stdout.log").splitlines()[-1])
    folder = lab.store.folder(trial.run_id).resolve()
    own = [str(folder / "trial"), trial.run_id, str(folder / "spec.json")]
    assert seen["argv"] == ["--lr", "1e-05", "--deep=true", "--name", "a 'b' \"c\"", "3", *own]
    assert seen["cwd"] == str(lab.folder)
    assert seen["CUDA_VISIBLE_DEVICES"] == "GPU-of-the-slot"
    assert [seen[f"INTERPLAY_{name}"] for name in ("RUN_DIR", "RUN_ID", "SPEC", "SEED")] == [*own, "3"]
    assert seen["MINE"] == "lr is 1e-05"
    assert json.loads(Path(seen["INTERPLAY_SPEC"]).read_text())["knobs"] == dict(trial.knobs)


FILE = """
    import json, os
    with open(os.environ["INTERPLAY_RUN_DIR"] + "/m.jsonl", "w") as f:
        for epoch in (1, 2, 3):
            print("epoch", epoch)
            f.write(json.dumps({"epoch": epoch, "train_loss": 1 / epoch, "test_acc": 30 * epoch, "norm": 2}) + "\\n")
"""


def test_measurements_in_a_file(lab: Lab) -> None:
    trial = lab.trial(FILE, metrics="m.jsonl")
    record = lab.record(trial)
    assert [(m.epoch, m.test_acc, m.instruments) for m in record.history] == [
        (e, 30 * e, {"norm": 2}) for e in (1, 2, 3)
    ]
    assert record.final_train_loss == pytest.approx(1 / 3)
    assert lab.epochs == [1, 2, 3]
    assert [m.epoch for m in lab.store.history(trial.run_id)] == [1, 2, 3]
    assert "epoch 3" in lab.text(trial, "stdout.log")
    assert lab.store.record(trial.run_id) == lab.store.record(trial.run_id)
    assert lab.attempt(trial).end is End.DONE


def test_measurements_on_standard_output(lab: Lab) -> None:
    trial = lab.trial("""
        import json
        print(json.dumps({"lr": 99, "test_acc": 1}))  # its arguments, say
        print("training")
        for epoch in (1, 2):
            print(json.dumps({"epoch": epoch, "test_acc": 10 * epoch}))
        print(json.dumps({"final_test_acc": 25, "final_train_loss": 0.5}))
        print("good bye")
    """)
    history = lab.record(trial).history
    assert [(m.epoch, m.test_acc) for m in history] == [(1, 10), (2, 25)]
    assert history[-1].train_loss == 0.5
    assert history[-1].instruments == {}


def test_measurements_in_words(lab: Lab) -> None:
    trial = lab.trial(
        """
        import sys
        print('{"lr": 99, "test_acc": 1}')
        for epoch in (1, 2):
            sys.stdout.write(f"\\r 50% acc: 0\\r100% [epoch {epoch}/2] loss=0.{epoch}, acc: {10 * epoch}%\\n")
        print("Best test accuracy: 25")
        """,
        pattern=(r"epoch (?P<epoch>\d+)/\d+\] loss=(?P<train_loss>\S+) acc: (?P<test_acc>\S+)", "^Best.*: (?P<f1>.+)"),
    )
    history = lab.record(trial).history
    assert [(m.epoch, m.train_loss, m.test_acc) for m in history] == [(1, 0.1, 10), (2, 0.2, 20)]
    assert history[-1].instruments == {"f1": 25}
    assert lab.epochs == [1, 2]


def test_epochs_are_told_while_it_runs(lab: Lab) -> None:
    trial = lab.trial(
        """
        import json, os, time
        folder = os.environ["INTERPLAY_RUN_DIR"]
        for epoch in (1, 2):
            with open(folder + "/m.jsonl", "a") as f:
                f.write(json.dumps({"epoch": epoch, "test_acc": epoch}) + "\\n")
            while not os.path.exists(folder + "/../told"):
                time.sleep(0.01)
        """,
        metrics="m.jsonl",
    )

    def seen() -> bool:
        if lab.epochs == [1]:
            (lab.store.folder(trial.run_id) / "told").touch()
        return False

    assert lab.attempt(trial, seen).end is End.COMMITTED
    assert lab.epochs == [1, 2]


@pytest.mark.parametrize(
    ("code", "options", "reason", "trace"),
    [
        ("import sys; print('no memory', file=sys.stderr); sys.exit(3)", {}, "exit code 3: no memory", "no memory"),
        ("raise ValueError('bad lr')", {}, "exit code 1: ValueError: bad lr", "Traceback"),
        ("import os; os.kill(os.getpid(), 11)", {}, "SIGSEGV: it printed nothing", None),
        ("print('no GPU'); raise SystemExit(2)", {}, "exit code 2: the last line it printed is no GPU", "no GPU"),
        ("raise SystemExit(1)", {}, "exit code 1: it printed nothing", None),
        (
            "print('done')",
            {},
            "it reported no metrics: no line of standard output is a JSON object; print one, or say a pattern of its "
            "lines: the last line it printed is done",
            None,
        ),
        ("print('done')", {"pattern": ("a(?P<b>.)",)}, "no line of standard output matches the pattern", None),
        ("print('done')", {"metrics": "m.jsonl"}, "it reported no metrics: there is no /", None),
        ("print('{\"f1_score\": 1}')", {"metric": "f1_scor"}, "did you mean 'f1_score'", None),
        ("import time; time.sleep(60)", {"timeout": 0.3}, "it ran past its timeout of 0.3 s", None),
    ],
)
def test_a_failure_is_named(lab: Lab, code: str, options: dict[str, object], reason: str, trace: str | None) -> None:
    trial = lab.trial(code, **options)
    outcome = lab.attempt(trial)
    assert outcome.end is End.FAILED
    assert reason in str(outcome.reason)
    failed = lab.store.record(trial.run_id)
    assert failed is not None
    assert failed.status is Status.FAILED
    assert failed.environment["command"] == trial.trainer.name
    assert trace is None or trace in str(failed.traceback)
    assert not (lab.store.folder(trial.run_id) / "claim.json").exists()


def test_a_program_that_is_not_there_stops_the_study(lab: Lab) -> None:
    trial = Trial(TrainerIdentity("command", "pyhton train.py"), {}, 1, TrialOptions(str(lab.folder)))
    outcome = lab.attempt(trial)
    assert (outcome.end, outcome.reason) == (End.UNABLE, "cannot start the command: there is no program 'pyhton'")


def test_numbers_that_are_not_finite_end_it_as_diverged(lab: Lab) -> None:
    trial = lab.trial(
        """
        import json, os, time
        for epoch, loss in ((1, 1.0), (2, float("nan"))):
            with open(os.environ["INTERPLAY_RUN_DIR"] + "/m.jsonl", "a") as f:
                f.write(json.dumps({"epoch": epoch, "train_loss": loss, "test_acc": 5}) + "\\n")
        time.sleep(600)
        """,
        metrics="m.jsonl",
    )
    record = lab.record(trial)
    assert (record.status, record.reason) == (Status.DIVERGED, "train_loss is nan in epoch 2")
    assert [m.train_loss for m in record.history] == [1.0, None]
    assert record.final_test_acc is None


def test_it_is_repeated_as_often_as_it_may_be(lab: Lab) -> None:
    code = """
        import os, sys
        path = os.environ["INTERPLAY_RUN_DIR"] + "/tries"
        tries = int(open(path).read()) if os.path.exists(path) else 0
        open(path, "w").write(str(tries + 1))
        if tries < 2:
            sys.exit("not yet")
        print('{"test_acc": 1}')
    """
    trial = lab.trial(code, retries=2)
    assert lab.record(trial).status is Status.FINISHED
    assert [note.partition(": ")[2] for note in lab.notes] == [
        "exit code 1: not yet; tried again (1 of 2)",
        "exit code 1: not yet; tried again (2 of 2)",
    ]
    assert lab.text(trial, "stderr.log").count("== ") == 3


RESUMABLE = """
    import json, os, signal, sys, time
    folder = os.environ["INTERPLAY_RUN_DIR"]
    state = folder + "/state"
    first = int(open(state).read()) + 1 if os.path.exists(state) else 1
    def stop(*_):
        open(folder + "/asked", "w").close()
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    for epoch in range(first, 5):
        with open(folder + "/m.jsonl", "a") as f:
            f.write(json.dumps({"epoch": epoch, "test_acc": epoch}) + "\\n")
        open(state, "w").write(str(epoch))
        if epoch == 2 and first == 1:
            time.sleep(600)
"""


def test_a_stop_and_going_on_in_the_same_folder(lab: Lab) -> None:
    trial = lab.trial(RESUMABLE, metrics="m.jsonl")
    outcome = lab.attempt(trial, lambda: lab.epochs == [1, 2])
    assert outcome.end is End.INTERRUPTED
    folder = lab.store.folder(trial.run_id)
    assert (folder / "trial" / "asked").exists()
    assert lab.store.has_checkpoint(trial.run_id)
    assert not (folder / "claim.json").exists()
    record = lab.record(trial)
    assert lab.epochs == [3, 4]
    assert [(m.epoch, m.test_acc) for m in record.history] == [(e, e) for e in (1, 2, 3, 4)]
    assert lab.text(trial, "stdout.log").count("== ") == 2


@pytest.mark.parametrize("code", ["os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)", "sys.exit(143)"])
def test_a_signal_from_outside_says_nothing_of_the_run(lab: Lab, code: str) -> None:
    trial = lab.trial(f"import os, sys; {code}", retries=1)
    outcome = lab.attempt(trial)
    assert outcome.end is End.KILLED
    assert "the command was ended by SIG" in str(outcome.reason)
    assert not lab.store.has_failed(trial.run_id)


@pytest.mark.parametrize(("epochs", "end"), [(2, End.COMMITTED), (3, End.INTERRUPTED)])
def test_an_end_in_good_order_while_all_are_asked_to_stop(lab: Lab, epochs: int, end: End) -> None:
    """Clusters ask all that a job has started; then only one that has trained for all its epochs is done."""
    trial = lab.trial(
        """
        import json, os
        for epoch in (1, 2):
            print(json.dumps({"epoch": epoch, "test_acc": 50}))
        open(os.environ["INTERPLAY_RUN_DIR"] + "/done", "w").close()
        """,
        "{epochs}",
        {"epochs": epochs},
    )
    done = lab.store.folder(trial.run_id) / "trial" / "done"

    def ended() -> bool:
        if done.exists():
            time.sleep(0.5)  # it has ended when this is asked
        return done.exists()

    assert lab.attempt(trial, ended).end is end


def test_a_command_that_does_not_stop_is_killed_after_its_grace(lab: Lab) -> None:
    trial = lab.replaced(
        lab.trial("""
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(os.environ["INTERPLAY_RUN_DIR"] + "/pid", "w").write(str(os.getpid()))
        os.rename(os.environ["INTERPLAY_RUN_DIR"] + "/pid", os.environ["INTERPLAY_RUN_DIR"] + "/ready")
        time.sleep(600)
    """),
        grace=0.3,
    )
    ready = lab.store.folder(trial.run_id) / "trial" / "ready"
    assert lab.attempt(trial, ready.exists).end is End.INTERRUPTED
    assert not alive(int(ready.read_text()))


FAMILY = """
    import os, subprocess, sys, time
    folder = os.environ["INTERPLAY_RUN_DIR"]
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
    pids = [os.getpid(), *(child.pid for child in children)]
    open(folder + "/part", "w").write(" ".join(map(str, pids)))
    os.rename(folder + "/part", folder + "/pids")
"""


def test_nothing_that_it_started_is_left(lab: Lab) -> None:
    """Not in its process group, and not in a session of its own."""
    trial = lab.trial(FAMILY + "    print('{\"test_acc\": 1}')\n")
    assert lab.record(trial).status is Status.FINISHED
    pids = [int(word) for word in (lab.store.folder(trial.run_id) / "trial" / "pids").read_text().split()]
    assert len(pids) == 3
    assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.parametrize("victim", ["worker", "keeper"])
def test_nothing_outlives_a_worker_that_was_killed(lab: Lab, victim: str) -> None:
    trial = lab.trial(FAMILY + "    time.sleep(600)\n")
    program = textwrap.dedent(f"""
        import sys
        from interplay.executors.attempt import attempt
        from interplay.executors.job import Job
        from interplay.store.leases import Claims
        from interplay.store.store import Store
        from pathlib import Path
        store = Store(Path({str(lab.store.root)!r}))
        spec = store.spec({trial.run_id!r})
        attempt([spec], store, Claims(store.runs, "t"), Job("data", str(store.root)))
    """)
    lab.store.open(trial)
    worker = subprocess.Popen([sys.executable, "-c", program])
    path = lab.store.folder(trial.run_id) / "trial" / "pids"
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pids = [int(word) for word in path.read_text().split()]
    keeper = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
    if victim == "worker":
        os.kill(worker.pid, signal.SIGKILL)
        expected = [*pids, keeper]
    else:
        os.kill(keeper, signal.SIGKILL)
        expected = [pids[0], keeper]  # the kernel sees to the command itself; what it detached is orphaned
    worker.wait()
    while any(map(alive, expected)):
        assert time.monotonic() < deadline, [pid for pid in expected if alive(pid)]
        time.sleep(0.02)
    if victim == "keeper":
        assert not lab.store.has_failed(trial.run_id)  # which says nothing of the run
        assert not (lab.store.folder(trial.run_id) / "claim.json").exists()
        for pid in pids[1:]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_two_commands_are_never_at_work_in_one_folder(lab: Lab) -> None:
    """A worker that was stopped while its lease ran out: the command of the next attempt waits for the first to go."""
    trial = lab.trial("print('{\"test_acc\": 1}')")
    folder = lab.store.open(trial)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, os, sys, time; h = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(h, fcntl.LOCK_EX);"
            "print('held', flush=True); time.sleep(0.7)",
            str(folder),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    ended: list[int | None] = []
    outcome = lab.attempt(trial, lambda: bool(ended.append(holder.poll())))
    assert outcome.end is End.COMMITTED
    assert holder.poll() is not None
    assert None in ended
    holder.stdout.close()


def test_logs_keep_their_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "KEPT", 10_000)
    trial = lab.trial("""
        for number in range(5000):
            print("line", number)
        print('{"test_acc": 7}')
    """)
    assert lab.record(trial).final_test_acc == 7
    text = lab.text(trial, "stdout.log")
    assert len(text) <= 20_000
    assert text.startswith("[the beginning was cut]")
    assert text.splitlines()[-2:] == ["line 4999", '{"test_acc": 7}']


def test_the_record_says_which_code_ran(lab: Lab) -> None:
    code = "print('{\"test_acc\": 1}')"
    trial = lab.trial(code)

    def git(*words: str) -> str:
        names = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", "-C", lab.folder, *names, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", "script.py")
    git("commit", "-qm", "first")
    environment = lab.record(trial).environment
    assert environment["commit"] == git("rev-parse", "HEAD")[:12]
    assert environment["command"] == trial.trainer.name
    assert environment["script"].startswith("script.py ")
    other = lab.trial(f"{code}  # changed", knobs={})
    assert other == trial
    from interplay.trainers import code as module

    module._commit.cache_clear()
    changed = module.environment(other, "cpu", ["python", "script.py"])
    assert changed["commit"] == f"{environment['commit']}+"
    assert changed["script"] != environment["script"]


def test_out_of_memory_on_a_gpu_is_told_as_such(lab: Lab) -> None:
    trial = lab.trial("raise RuntimeError('CUDA out of memory. Tried to allocate')")
    assert lab.attempt(trial, device="cuda").end is End.OUT_OF_MEMORY
    assert lab.attempt(trial).end is End.FAILED


def test_a_full_disk_is_no_failure_of_the_run(lab: Lab) -> None:
    trial = lab.trial("import errno, os; raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))", retries=1)
    outcome = lab.attempt(trial)
    assert outcome.end is End.UNABLE
    assert "No space left on device" in str(outcome.reason)
    assert not lab.store.has_failed(trial.run_id)


def test_a_folder_in_which_a_command_stays_at_work_is_left_to_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker may be stopped, which is seen when its lease runs out; the run is tried again later."""
    text = Path(keeper.__file__).read_text()
    assert "_LOCK_SECONDS = 10.0" in text
    (lab.folder / "keeper.py").write_text(text.replace("_LOCK_SECONDS = 10.0", "_LOCK_SECONDS = 0.2"))
    monkeypatch.setattr(keeper, "__file__", str(lab.folder / "keeper.py"))
    command._close_idle()
    trial = lab.trial("print('{\"test_acc\": 1}')")
    handle = os.open(lab.store.open(trial), os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    outcome = lab.attempt(trial)
    assert (outcome.end, "still at work" in str(outcome.reason)) == (End.TAKEN, True)
    assert not lab.store.has_failed(trial.run_id)
    os.close(handle)
    assert lab.attempt(trial).end is End.COMMITTED
    command._close_idle()


def test_a_keeper_serves_one_command_after_the_other(lab: Lab) -> None:
    """Also after one that was killed while it waited."""
    command._close_idle()
    trials = [lab.trial("import os; print('{\"test_acc\": %d}' % os.getppid())", str(n)) for n in range(4)]
    parents = [lab.record(trial).final_test_acc for trial in trials[:2]]
    assert parents[0] == parents[1]
    os.kill(int(parents[0] or 0), signal.SIGKILL)
    while alive(int(parents[0] or 0)):
        time.sleep(0.01)
    parents += [lab.record(trial).final_test_acc for trial in trials[2:]]
    assert parents[1] != parents[2] == parents[3]


def test_a_command_that_is_killed_again_and_again_is_named(lab: Lab) -> None:
    trial = lab.trial("import os; print('tried'); os.kill(os.getpid(), 9)")
    study = Study("killed", specs=(trial,))
    with pytest.raises(RunFailedError, match="1 of 1 runs failed"):
        run_study(study, output_dir=str(lab.store.root), executor="inline", log=False)
    failed = lab.store.record(trial.run_id)
    assert failed is not None
    assert failed.reason == "the command was ended by SIGKILL, 3 times"
    assert lab.text(trial, "stdout.log").count("tried\n") == 3
