"""The only composer: what the command line, the documented scripts and Python users call.

Importing it is cheap; torch is imported by the call that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interplay.data.identity import resolve
from interplay.progress import RunProgress
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.store import Store


@dataclass(frozen=True)
class Settings:
    """Operational settings: where and how, never what. None of them enters a run's identity.

    Attributes:
        data_dir: where datasets lie or are downloaded to.
        output_dir: where runs, results and checkpoints go.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads of torch; 0 leaves torch's own choice.
        save_checkpoints: keep the best and the final weights.
        allow_modified_data: accept data files that are not the published ones, as different data.
        instruments: optional measurements, see `interplay.train.instruments`.
    """

    data_dir: str | Path = "data"
    output_dir: str | Path = "outputs"
    device: str = "auto"
    threads: int = 0
    save_checkpoints: bool = False
    allow_modified_data: bool = False
    instruments: tuple[str, ...] = ()


def run(spec: RunSpec, settings: Settings | None = None) -> RunRecord:
    """Train one run, unless it is in the store already, and return its record.

    Prints the progress. A run that was interrupted goes on where it stopped.

    Raises:
        InterplayError: data absent or refused, a GPU that is not there, an interruption; the message says what to do.
    """
    import torch

    from interplay.executors.gpus import choose_device, fitted
    from interplay.executors.stopping import StopRequest
    from interplay.executors.worker import Job, execute

    settings = settings or Settings()
    device = choose_device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if device.type == "cpu" and settings.device == "auto":
        print("No usable GPU: training on the CPU, in fp32 (mixed precision is for GPUs).")
    spec = fitted(resolve(spec, Path(settings.data_dir), allow_modified_data=settings.allow_modified_data), device)
    store = Store(Path(settings.output_dir))
    if (done := store.record(spec.run_id)) is not None:
        print(f"This run is done already; remove {store.folder(spec.run_id)} to run it again.")
        print(summary(done, store))
        return done
    job = Job(
        Path(settings.data_dir), device, save_checkpoints=settings.save_checkpoints, instruments=settings.instruments
    )
    print(f"run {spec.run_id}: {describe(spec)}")
    with StopRequest() as stop, RunProgress(spec.epochs) as progress:

        def on_epoch(metrics: EpochMetrics) -> bool:
            progress.epoch(metrics)
            return stop.requested

        record = execute(spec, store, job, on_epoch=on_epoch, on_batch=progress.batch)
    print(summary(record, store))
    return record


def describe(spec: RunSpec) -> str:
    """The knobs that studies vary, in one line."""
    return (
        f"{spec.model} on {spec.dataset}, {spec.method}, lr {spec.lr:g}, weight decay {spec.weight_decay:g}, "
        f"momentum {spec.momentum:g}, batch {spec.batch_size}, {spec.epochs} epochs, {spec.schedule}, seed {spec.seed}"
    )


def summary(record: RunRecord, store: Store) -> str:
    """How a run ended and where everything lies."""
    if record.status is Status.FINISHED:
        result = (
            f"finished: test accuracy {record.final_test_acc:.2f} % (best epoch {record.best_test_acc:.2f} %), "
            f"training loss {record.final_train_loss:.4f}"
        )
    else:
        result = f"{record.status}: {record.reason}"
    rate = record.images_per_second
    speed = f"{record.wall_seconds:.1f} s" + (f", {rate:,.0f} images/s in training" if rate else "")
    return f"{result}; {speed}\nrecord  {store.folder(record.run_id)}\nresults {store.results}"
