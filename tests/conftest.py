"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from interplay.data.splits import Splits, load
from interplay.spec import RunSpec

ROOT = Path(__file__).resolve().parents[1]
PACKED = ROOT.parent / "shared" / "data"


# Two test processes share two cores; more threads than cores make every small matrix product wait. Here for the
# fixtures of modules, which are made before any fixture of a test, and again for each test.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def notes_shown() -> Iterator[None]:
    """Notes go to standard error, as in a command."""
    from interplay import notes

    with notes.shown():
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real CIFAR files, rebuilt once for all test processes."""
    if not (PACKED / "unpack.py").is_file():
        pytest.skip("the real CIFAR files are not here: ../shared/data is absent")
    from filelock import FileLock

    # With several test processes each has its own base folder below a common one.
    folder = tmp_path_factory.getbasetemp().parent / "real"
    with FileLock(f"{folder}.lock"):
        subprocess.run([sys.executable, PACKED / "unpack.py", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture
def cuda() -> torch.device:
    """A GPU, or the test is skipped by name."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def public_tables() -> Path:
    """A folder with the three public tables, which carry no licence and so are no part of the repository."""
    fetched = ROOT / "results" / "resnet18-cifar100-public" / "tables"
    for folder in (fetched, ROOT.parent / "shared" / "reference"):
        if (folder / "resnet18_cifar100_seed42_run2.csv").is_file():
            return folder
    pytest.skip(f"the public tables are not here: {fetched.parent.relative_to(ROOT)}/fetch.sh fetches them")


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[object]]:
    """Takes a documented command, in ``tmp_path``, to the point where it would train; gives its calls into the lab.

    Flags are parsed and study files are read as ever. The command must end with 0.
    """
    from interplay.analysis import words as words_module
    from interplay.analysis.verify import measure as measure_module
    from interplay.analysis.verify import problems as verify_module
    from interplay.cli import documented, hypernetworks, tables
    from interplay.cli import main as command
    from interplay.cli import state as reading
    from interplay.lab import doctor, drawing, extending, overview, paper, plan, read, report, run
    from interplay.lab.report import Written
    from interplay.store.store import Store

    asked: list[object] = []

    class Nothing:
        """An answer of nothing."""

        def to_dict(self) -> dict[str, object]:
            return {}

        def lines(self, **words: object) -> str:
            return ""

    for place, names in (
        (run, ("run", "run_study", "run_studies", "retry", "summary")),
        (extending, ("until_decided",)),
        (plan, ("dry_run", "forecast")),
        (overview, ("show_status", "overview")),
        (drawing, ("plot",)),
        (reading, ("cancel",)),
        (tables, ("import_table",)),
        (Store, ("rebuild",)),
    ):
        for name in names:
            # What it gives is passed over, printed, or asked for its lines.
            answer = Nothing() if place in (plan, overview) else []
            monkeypatch.setattr(place, name, lambda *args, n=name, a=answer, **words: asked.append(n) or a)

    written = Written(ROOT / "README.md", ())
    monkeypatch.setattr(report, "report", lambda *args, **words: asked.append(words) or written)
    monkeypatch.setattr(read, "predict", lambda *args, **words: asked.append(words) or Nothing())
    monkeypatch.setattr(read, "compare", lambda *args: asked.append(args) or Nothing())
    monkeypatch.setattr(read, "analyze", lambda *args, **words: asked.append(args) or Nothing())
    monkeypatch.setattr(paper, "tables", lambda *args: asked.append(args) or ())
    monkeypatch.setattr(extending, "extended", lambda study, settings, **words: study)
    monkeypatch.setattr(documented.PlotFlags, "call", lambda self: asked.append(self) or 0)
    monkeypatch.setattr(hypernetworks.HyperFlags, "call", lambda self: asked.append(self) or 0)
    monkeypatch.setattr(documented.AllExperimentsFlags, "call", lambda self: asked.append(self) or 0)
    monkeypatch.setattr(documented.MultiGpuFlags, "call", lambda self: asked.append(self) or 0)
    monkeypatch.setattr(verify_module, "verify", lambda studies: asked.append(studies) or [])
    monkeypatch.setattr(measure_module, "shown", lambda *args: asked.append(args) or [])
    monkeypatch.setattr(words_module, "report", str)
    monkeypatch.setattr(words_module, "prediction", str)
    monkeypatch.setattr(words_module, "comparison", str)
    monkeypatch.setattr(doctor, "examine", lambda *args: asked.append(args) or [])
    monkeypatch.chdir(tmp_path)
    if not (tmp_path / "studies").exists():
        (tmp_path / "studies").symlink_to(ROOT / "studies")

    programs = {
        "main.py": command.run_main,
        "run_experiments.py": documented.run_experiments,
        "run_all_experiments.py": documented.run_all_experiments,
        "plot_results.py": documented.plot_results,
        "test_multi_gpu.py": documented.multi_gpu,
        "check_gpu.py": lambda words: asked.append("check_gpu") or len(words),
        "./run_all_experiments.sh": documented.run_all_experiments,
        "./run_hypernetworks_gpu.sh": hypernetworks.main,
        "results/resnet18-cifar100-public/fetch.sh": lambda words: asked.append("fetch.sh") or len(words),
        "interplay": command.main,
    }

    def reached(command: str) -> list[object]:
        program, *words = shlex.split(command)
        if program == "python":
            program, *words = words
        assert program == "interplay" or (ROOT / program).is_file()
        assert programs[program](words) == 0
        assert asked
        return asked

    return reached


CLUSTER = Path(__file__).parent / "cluster"


@pytest.fixture(scope="session")
def slurm() -> Iterator[Any]:
    """A real Slurm: one node, four CPUs, two GPUs that are none; clients of this process and its children find it."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    sys.path.insert(0, str(CLUSTER))
    from slurm_cluster import NoSlurmError, SlurmCluster

    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: sockets lie in it
    cluster = SlurmCluster(folder)
    before = dict(os.environ)
    try:
        cluster.start()
        os.environ.update(PATH=cluster.environment["PATH"], SLURM_CONF=cluster.environment["SLURM_CONF"])
        yield cluster
    except NoSlurmError as error:
        pytest.skip(f"no Slurm: {error}")
    finally:
        cluster.stop()
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


class RayCluster:
    """A real Ray of two nodes with a CPU each, in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CLUSTER / "ray_cluster.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        # Ray has its own messages on the same stream.
        for line in self.process.stdout:
            if line.strip() in ("done", "dead") or line.strip().rpartition(":")[2].isdecimal():
                return line.strip()
        raise RuntimeError("Ray is installed, and its cluster of two nodes does not start")

    def tell(self, word: str) -> str:
        """``add`` or ``remove`` a node, and wait; ``dead`` if a node has gone that should not have."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self._line()

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def _ray() -> Iterator[list[RayCluster]]:
    pytest.importorskip("ray", reason="Ray is not installed")
    clusters = [RayCluster()]
    yield clusters
    for cluster in clusters:
        cluster.stop()


@pytest.fixture
def two_nodes(_ray: list[RayCluster]) -> RayCluster:
    """A real Ray with both its nodes, or the tests are skipped by name."""
    if _ray[-1].tell("look") != "done":
        _ray.pop().stop()
        _ray.append(RayCluster())
    return _ray[-1]


@pytest.fixture(scope="session")
def pace(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds of an epoch on this machine, so that a run lasts long enough to be disturbed and no longer."""
    from interplay.executors.attempt import attempt
    from interplay.executors.job import Job
    from interplay.store.leases import Claims
    from interplay.store.store import Store

    folder = tmp_path_factory.mktemp("pace")
    spec = RunSpec(dataset="digits", model="mlp", label_noise=0.2, epochs=40, precision="fp32")
    store = Store(folder)
    attempt([spec], store, Claims(store.runs, "pace"), Job("data", str(folder)))
    return store.record(spec.run_id).wall_seconds / 40


@pytest.fixture(scope="session")
def digits_spec() -> RunSpec:
    """A run of a second: the MLP on noisy digits."""
    return RunSpec(
        dataset="digits", model="mlp", label_noise=0.2, epochs=6, batch_size=64, val_split=100, precision="fp32"
    )


@pytest.fixture(scope="session")
def digits(digits_spec: RunSpec) -> Splits:
    """Its data."""
    return load(digits_spec, Path("/nonexistent"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For ``--dist loadgroup``: a file stays on one process, and everything that may start a cluster on one as well."""
    for item in items:
        clusters = item.path.parent.name == "cluster" or item.path.match("contracts/test_executors.py")
        item.add_marker(pytest.mark.xdist_group("clusters" if clusters else str(item.path)))
