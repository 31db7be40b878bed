"""A study made ready for this machine and this store: its data, its precision, where its runs go at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from interplay.by_path import BY_PATH
from interplay.data.identity import Identity, identify
from interplay.devices import Slot, fitted
from interplay.errors import InterplayError, SpecError
from interplay.lab.clusters import slots_of
from interplay.lab.settings import Settings
from interplay.spec import RunSpec
from interplay.store.store import Store
from interplay.study.study import Study
from interplay.trial import Spec, Trial


def prepared(study: Study, settings: Settings) -> tuple[Study, list[Slot]]:
    """``study`` with its data and precision settled, and the slots it will run on.

    Raises:
        SpecError: a GPU that is not there, several for one process, one W&B name for all runs, or a network by import
            path that does not fit the data.
        DataError: a file of the study is absent.
    """
    if settings.wandb_name is not None:
        raise SpecError("wandb_name is for a single run; the runs of a study are named after their settings")
    slots = slots_of(study, settings)
    study = with_data(study, settings)
    refuse_unfit(study.specs, identities(study, settings))
    device, cpu_bf16 = slots[0].device, settings.cpu_bf16
    specs = (spec if isinstance(spec, Trial) else fitted(spec, device, cpu_bf16=cpu_bf16) for spec in study.specs)
    return dataclasses.replace(study, specs=tuple(specs)), slots


def with_data(study: Study, settings: Settings) -> Study:
    """``study`` with the fingerprint of its data in every run.

    Raises:
        DataError: a file of it is absent or unusable.
        SpecError: some of its runs cannot be trained on their data.
    """
    known = identities(study, settings)
    settled = (spec if isinstance(spec, Trial) else known[spec.dataset].settle(spec) for spec in study.specs)
    return dataclasses.replace(study, specs=tuple(settled))


def identities(study: Study, settings: Settings) -> dict[str, Identity]:
    """The data of each name that ``study`` trains on."""
    modified = settings.allow_modified_data
    names = sorted({spec.dataset for spec in study.specs if not isinstance(spec, Trial)})
    return {name: identify(name, Path(settings.data_dir), allow_modified_data=modified) for name in names}


def refuse_unfit(specs: Sequence[Spec], data: Mapping[str, Identity]) -> None:
    """Make each network by import path once; raises `SpecError` for one that cannot be made or does not fit."""
    tried = {(spec.model, spec.model_args, spec.dataset): spec for spec in _by_path(specs)}
    if not tried:
        return
    from interplay.models.build import build  # torch

    for spec in tried.values():
        build(spec, data[spec.dataset].shape, data[spec.dataset].classes)


def _by_path(specs: Sequence[Spec]) -> list[RunSpec]:
    return [spec for spec in specs if not isinstance(spec, Trial) and spec.model in BY_PATH]


def of_other_code(specs: Sequence[Spec], store: Store) -> list[str]:
    """One line for each network by import path of which ``store`` has runs of other code; those are other runs."""
    now = {spec.model: spec.model_code for spec in _by_path(specs)}
    found: dict[tuple[str, str], list[str]] = {}
    for run_id in store.run_ids() if now else ():
        try:
            spec = store.spec(run_id)
        except InterplayError:
            continue  # what is damaged is said elsewhere
        if isinstance(spec, RunSpec) and now.get(spec.model, spec.model_code) != spec.model_code:
            found.setdefault((spec.model, spec.model_code), []).append(run_id)
    return [
        f"note: the code of {model} has changed: {len(ids)} of the runs here are of {code} ({', '.join(ids[:3])}"
        f"{', ...' if len(ids) > 3 else ''}), these are of {now[model]}: they are other runs"
        for (model, code), ids in sorted(found.items())
    ]


def in_store(study: Study, settings: Settings) -> list[Spec]:
    """The runs of ``study`` as the store has them, in mixed precision or not: to look, no GPU need be at hand."""
    store = settings.store()
    there = set(store.run_ids())
    found: list[Spec] = []
    for spec in with_data(study, settings).specs:
        found += [way for way in ways(spec) if way.run_id in there] or [spec]
    return found


def ways(spec: Spec) -> list[Spec]:
    """``spec`` in mixed precision and without: the store may have either."""
    if isinstance(spec, Trial):
        return [spec]
    return [spec.replace(precision=precision) for precision in ("bf16", "fp32")]


def counts(total: int, done: int, failed: int, missing: int) -> str:
    """How many runs of a study there are, by what is to be done about them, in a line."""
    return f"  {total} runs: {done} done, {missing} missing" + (f", {failed} failed" if failed else "")


def one_thread(slots: Sequence[Slot]) -> None:
    """One thread for what this process computes, as workers on CPUs have."""
    import torch  # plans are made without it where nothing is measured

    if slots[0].device == "cpu":
        torch.set_num_threads(1)
