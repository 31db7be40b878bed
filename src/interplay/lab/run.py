"""Runs and studies, from their specifications to their records. What comes out is returned; nothing is printed."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from interplay.data.identity import identify
from interplay.devices import Slot, choose_device, fitted, free_memory, visible_gpus
from interplay.errors import SchemaError, SpecError
from interplay.executors.outcomes import End, Outcome
from interplay.executors.process import WorkerProcess
from interplay.executors.registry import executor_class
from interplay.executors.signals import StopRequest
from interplay.lab.clusters import executor_for, manifest_of, submits
from interplay.lab.console import StudyProgress, log_path
from interplay.lab.prepare import counts, identities, in_store, of_other_code, one_thread, prepared, refuse_unfit
from interplay.lab.progress import RunProgress
from interplay.lab.results import StudyResult
from interplay.lab.settings import InterruptedRunError, RunFailedError, Settings
from interplay.notes import note, notice
from interplay.record import RunRecord, outcome
from interplay.spec import RunSpec
from interplay.speed.estimate import plan
from interplay.speed.plan import SpeedPlan
from interplay.store.checkpoints import publish
from interplay.store.leases import Claims
from interplay.store.permissions import UnwritableError, check_writable
from interplay.store.store import Store
from interplay.study.functions import is_here_only
from interplay.study.study import Study
from interplay.summary import describe, setting
from interplay.trackers.choose import announcement, open_tracker
from interplay.train.events import BatchSeen, EpochEnded, Event, ModelReady, Note, RunEnded
from interplay.trial import Spec, Trial, trials

Say = Callable[[str], None]
"""Takes the lines of what came out, one by one, as soon as they are known."""


SHOWN_FAILURES = 10
"""Failed runs that are named at the end of a study; of more, the rest is counted."""


def _silent(line: str) -> None:
    pass


NO_GPU = "No usable GPU: training on the CPU, in fp32 (mixed precision is for GPUs)."
NO_GPU_BF16 = "No usable GPU: training on the CPU, in bf16, as it was asked for."


# -- one run ----------------------------------------------------------------------------------------------------------


def run(spec: RunSpec, settings: Settings | None = None) -> RunRecord:
    """Train one run, unless it is in the store already, and return its record.

    A run that was interrupted goes on where it stopped. Progress goes to the logger "interplay".

    Raises:
        InterplayError: data absent or refused, a GPU that is not there, an interruption; the message says what to do.
    """
    import torch  # a study that is done answers without it

    from interplay.executors.attempt import attempt  # torch
    from interplay.lab.distributed import attempt_together, resolved

    settings = settings or Settings()
    device = choose_device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if device == "cpu" and settings.device == "auto":
        notice(NO_GPU_BF16 if settings.cpu_bf16 and spec.precision == "bf16" else NO_GPU)
    data = identify(spec.dataset, Path(settings.data_dir), allow_modified_data=settings.allow_modified_data)
    spec = fitted(data.settle(spec), device, cpu_bf16=settings.cpu_bf16)
    refuse_unfit([spec], {spec.dataset: data})
    processes = resolved(settings.processes, spec, settings.device)
    store = settings.store()
    _reconcile(store)
    if store.is_done(spec.run_id) and (done := store.readable_record(spec.run_id)) is not None:
        notice(f"This run is done already; remove {store.folder(spec.run_id)} to run it again.")
        if settings.save_checkpoints and not (store.folder(spec.run_id) / "final.pt").exists():
            notice("It was run without --save_checkpoints, so there are no weights of it.")
        return done
    check_writable(store, [spec.run_id], ["checkpoints"] if settings.save_checkpoints else [])
    notice(f"run {spec.run_id}: {describe(spec)}")
    if data.note:
        notice(f"note: {spec.dataset}: {data.note}")
    for line in of_other_code([spec], store):
        notice(line)
    _announce(settings)
    leases = Claims(store.runs, "interplay run", settings.lease)
    with StopRequest() as stop, RunProgress(spec.epochs) as progress:
        ended: Outcome

        def on_note(text: str) -> None:
            notice(f"note: {text}")

        def emit(event: Event) -> None:
            nonlocal ended
            match event:
                case ModelReady():
                    stop.armed = True
                case BatchSeen():
                    progress.batch(event)
                case EpochEnded():
                    progress.epoch(event.metrics)
                case Note():
                    on_note(event.text)
                case RunEnded():
                    ended = event.outcome

        job = settings.job(device)
        tracker = open_tracker(job.tracking, on_note)
        waited = False
        while True:
            if processes > 1:
                attempt_together(spec, job, processes, settings.threads, emit, lambda: stop.requested)
            else:
                attempt([spec], store, leases, job, emit, lambda: stop.requested, tracker=tracker)
            if ended.end is not End.TAKEN:
                break
            if not waited:
                notice(
                    f"Another worker has this run; waiting until it is done or silent for {settings.lapse_seconds:g} s."
                )
            waited = True
            time.sleep(1.0)
    if settings.save_checkpoints:
        publish(store.root, spec, store.folder(spec.run_id))
    match ended.end:
        case End.COMMITTED | End.DONE:
            record = ended.record or store.readable_record(spec.run_id)
            assert record is not None, "a run that is done has a record"
            return record
        case End.INTERRUPTED:
            raise InterruptedRunError(ended.reason or "interrupted")
        case End.FAILED:
            raise RunFailedError(f"{ended.reason}\nThe traceback is in {store.folder(spec.run_id) / 'failed.json'}")
        case _:
            raise RunFailedError(ended.reason or str(ended.end))


def summary(record: RunRecord, store: Store) -> str:
    """How a run ended and where everything lies."""
    rate = record.images_per_second
    speed = f"{record.wall_seconds:.1f} s" + (f", {rate:,.0f} images/s in training" if rate else "")
    return f"{outcome(record)}; {speed}\nrecord  {store.folder(record.run_id)}\nresults {store.results}"


# -- studies ----------------------------------------------------------------------------------------------------------


def run_study(
    study: Study,
    settings: Settings | None = None,
    *,
    say: Say = _silent,
    asked: Study | None = None,
    first: bool = True,
) -> StudyResult:
    """Run what is missing of ``study``.

    Args:
        study: the runs.
        settings: where and how.
        say: takes the lines of the result as they are known; they are said before an error is raised, too. Progress
            goes to the logger "interplay".
        asked: the study as its file states it, where runs were added to it; the store remembers that one.
        first: whether to say what the study is; not where it goes on after further runs were added.

    Raises:
        InterruptedRunError: stopped by a signal; what is finished is in the store, the rest goes on another time.
        RunFailedError: some runs failed, or the study could not go on; the message names them.
    """
    settings = _in_this_process(study, settings or Settings())
    study, slots = prepared(study, settings)
    executor = executor_for(study, settings, slots)
    store = settings.store()
    _reconcile(store)
    planned = plan(study.specs, store)
    if planned.missing:
        wanted = (("studies", True), ("checkpoints", settings.save_checkpoints), ("logs", settings.log))
        check_writable(store, [spec.run_id for spec in planned.missing], [name for name, wants in wanted if wants])
    _remember(study if asked is None else prepared(asked, settings)[0], store, must=bool(planned.missing))
    if first:
        notice(study.header())
        for name, data in identities(study, settings).items():
            if data.note:
                notice(f"note: {name}: {data.note}")
        for line in of_other_code(study.specs, store):
            notice(line)
    notice(counts(len(planned.specs), len(planned.done), len(planned.failed), len(planned.missing)))
    for spec in planned.failed:
        notice(f"  failed before: {setting(spec)} (interplay retry runs it again)")
    own = [spec for spec in planned.missing if not isinstance(spec, Trial)]
    if slots[0].device == "cpu" and own and executor.is_here:
        gpus = len(visible_gpus())
        precision = "bf16" if any(spec.precision == "bf16" for spec in own) else "fp32"
        without = NO_GPU_BF16 if precision == "bf16" else NO_GPU
        notice(f"Training on the CPU, in {precision}; --gpus all would use the {gpus} GPUs here." if gpus else without)
    job = settings.job(slots[0].device, study.experiment, study.name)
    if planned.missing and submits(study, settings):
        handed_over = executor.submit(store, job)
        say(handed_over)
        return StudyResult(study, store, handed_over=handed_over)
    log = log_path(store.root, study) if settings.log and planned.missing else None
    if planned.missing:
        _announce(settings)
        if executor.stacks and own:
            executor.speed = _speed(own, settings, slots, store)
    missing = list(planned.missing)
    with StopRequest() as stop, StudyProgress(missing, len(study.specs), log, quiet=settings.quiet) as progress:
        if log is not None:
            progress.configuration(study, settings, [slot.name for slot in slots])
        report = executor.run(missing, store, job, progress, stop)
        report.stopped = stop.requested
        if settings.save_checkpoints:
            _publish(study, store, progress.note)
        result = StudyResult.of(study, store, report)
        failed = [f"failed: {setting(spec)}: {reason}" for spec, reason in result.failed]
        if len(failed) > SHOWN_FAILURES:
            rest = len(failed) - SHOWN_FAILURES
            failed[SHOWN_FAILURES:] = [f"failed: {rest} more; interplay status names them"]
        for line in [*result.lines(), *failed]:
            progress.result(line)
            say(line)
        _refuse_what_is_left(result, report.problem)
    if planned.failed:
        raise RunFailedError(f"{len(planned.failed)} runs failed before; interplay retry runs them again")
    return result


def _in_this_process(study: Study, settings: Settings) -> Settings:
    """``settings`` for a study of a function that no other process can be given: one run after the other, here."""
    stays = next((spec for spec in trials(study.specs) if is_here_only(spec)), None)
    asked = executor_class(settings.executor)
    if stays is None or asked.in_this_process:
        return settings
    if not asked.is_here:
        raise SpecError(
            f"the function {stays.trainer.name} is to be found in this process alone: put it into a module, or install "
            "cloudpickle"
        )
    notice(
        f"note: the function {stays.trainer.name} is to be found in this process alone, so its runs go one after the "
        "other; put it into a module, or install cloudpickle"
    )
    return dataclasses.replace(settings, executor="inline", workers=0)


def _remember(study: Study, store: Store, *, must: bool) -> None:
    """Leave the manifest of ``study`` in the store: those who read it know what was claimed. A study that is done can
    be looked at in a store that cannot be written."""
    try:
        manifest_of(study).write(store.root)
    except OSError:
        if must:
            raise


def _speed(missing: Sequence[RunSpec], settings: Settings, slots: Sequence[Slot], store: Store) -> SpeedPlan:
    """Which of the runs are trained in stacks, and how many at once on a GPU."""
    from interplay.speed.choose import Machine, choose  # torch

    one_thread(slots)  # the probe goes the way of the workers
    on_gpus = Counter(slot.visible for slot in slots)
    machine = Machine(
        free_memory(slots),
        slots[0].device,
        slots[0].visible,
        # Who says how many share a GPU gets so many.
        slots=1 if settings.per_gpu else max(on_gpus.values()),
        gpus=len(on_gpus),
        workers=len(slots),
        start=lambda: WorkerProcess(slots[0]),
    )
    return choose(
        missing,
        machine,
        path=settings.path,
        size=settings.stack,
        autotune=settings.autotune,
        notes=store.root / "pace.json",
        say=notice,
    )


def _publish(study: Study, store: Store, say: Callable[[str], None]) -> None:
    """Give the weights of all runs of the study that are done their documented names, those that other sets ran too."""
    without = 0
    for spec in study.specs:
        if isinstance(spec, Trial):
            continue  # a script keeps its weights in run_dir, as it likes
        if store.is_done(spec.run_id) and not publish(store.root, spec, store.folder(spec.run_id), study.experiment):
            without += 1
    if without:
        say(f"{without} runs were done without --save_checkpoints, so there are no weights of them")


def run_studies(studies: Sequence[Study], settings: Settings | None = None, *, say: Say = _silent) -> list[StudyResult]:
    """`run_study` for each of ``studies``; failed runs of one do not keep the others from running.

    Raises:
        InterplayError: as `run_study`; failures are raised at the end.
    """
    results: list[StudyResult] = []
    failure = None
    for study in studies:
        if results and results[-1].stopped:
            raise InterruptedRunError(f"stopped before {study.name}; the same command goes on")
        try:
            results.append(run_study(study, settings, say=say))
        except RunFailedError as error:
            if len(studies) == 1:
                raise
            notice(f"error: {study.name}: {error}")
            failure = error
    if failure is not None:
        raise failure
    return results


def _refuse_what_is_left(result: StudyResult, problem: str | None) -> None:
    left = len(result.left)
    if problem:
        raise RunFailedError(f"{problem}\n{left} runs are left; the same command goes on with them")
    if result.stopped and left:
        kept = sum(result.store.has_checkpoint(spec.run_id) for spec in result.left)
        waiting = f", {left - kept} not started" if left > kept else ""
        raise InterruptedRunError(
            f"stopped: {kept} run{' keeps' if kept == 1 else 's keep'} a checkpoint{waiting}; the same command goes on"
        )
    if result.failed:
        of = f"{len(result.failed)} of {len(result.study.specs)}"
        raise RunFailedError(f"{of} runs failed; interplay retry runs them again")


def retry(settings: Settings | None = None, study: Study | None = None, *, say: Say = _silent) -> StudyResult | None:
    """Run failed runs again: those of ``study``, or all of the store; ``None`` if there is none."""
    settings = settings or Settings()
    store = settings.store()
    wanted = {spec.run_id for spec in in_store(study, settings)} if study is not None else set(store.run_ids())
    failed = sorted(run_id for run_id in wanted if store.is_to_retry(run_id))
    if not failed:
        return None
    asked_now = {spec.run_id: spec for spec in study.specs} if study is not None else {}
    known = {
        run_id: asked_now.get(run_id, spec) if isinstance(spec, Trial) else spec  # its timeout may have been the cause
        for run_id in failed
        if (spec := _asked(run_id, store)) is not None
    }
    failed, specs = list(known), tuple(known.values())
    if not failed:
        return None
    here = executor_class(settings.executor).is_here
    in_bf16 = any(spec.precision not in ("fp32", None) for spec in specs)
    if here and settings.gpus is None and in_bf16 and not settings.cpu_bf16:
        raise SpecError(
            "some of the failed runs are for GPUs, in mixed precision: say which with --gpus, or --cpu_bf16 for the CPU"
        )
    asked = study.slurm if study is not None else settings.slurm
    again = Study("retry", "Which of the failed runs work now?", (), "", "interplay retry", specs, slurm=asked)
    again, slots = prepared(again, settings)  # everything that can be refused is refused before a failure is forgotten
    executor_for(again, settings, slots)
    for run_id in failed:
        store.forget_failure(run_id)
    return run_study(again, settings, say=say)


def _asked(run_id: str, store: Store) -> Spec | None:
    """What was asked for of a run that failed; ``None`` where nothing says it any more, which a note names."""
    record = store.readable_record(run_id)
    if record is not None:
        return record.spec
    try:
        return store.spec(run_id)
    except SchemaError as error:
        note(f"{error}; passed over", "store")
        return None


def _announce(settings: Settings) -> None:
    if (line := announcement(settings.tracking(), Path(settings.output_dir))) is not None:
        notice(line)


def _reconcile(store: Store) -> None:
    try:
        rows = store.reconcile()
    except OSError as error:
        raise UnwritableError(f"{error}; nothing was started. Free it, or say another --output_dir") from error
    for row in rows:
        notice(f"note: results.csv {row}; kept in {store.aside}")
