"""A study made ready for this machine and this store: its data, its precision, where its runs go at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from interplay.data.identity import Identity, identify
from interplay.devices import Slot, fitted
from interplay.errors import SpecError
from interplay.lab.clusters import slots_of
from interplay.lab.settings import Settings
from interplay.study.study import Study
from interplay.trial import Spec, Trial


def prepared(study: Study, settings: Settings) -> tuple[Study, list[Slot]]:
    """``study`` with its data and precision settled, and the slots it will run on.

    Raises:
        SpecError: a GPU that is not there, several for one process, or one W&B name for all runs.
        DataError: a file of the study is absent.
    """
    if settings.wandb_name is not None:
        raise SpecError("wandb_name is for a single run; the runs of a study are named after their settings")
    slots = slots_of(study, settings)
    study = with_data(study, settings)
    return dataclasses.replace(study, specs=tuple(_fitted(spec, slots[0].device) for spec in study.specs)), slots


def with_data(study: Study, settings: Settings) -> Study:
    """``study`` with the fingerprint of its data in every run.

    Raises:
        DataError: a file of it is absent or unusable.
        SpecError: some of its runs cannot be trained on their data.
    """
    known = identities(study, settings)
    settled = (spec if isinstance(spec, Trial) else known[spec.dataset].settle(spec) for spec in study.specs)
    return dataclasses.replace(study, specs=tuple(settled))


def _fitted(spec: Spec, device: str) -> Spec:
    return spec if isinstance(spec, Trial) else fitted(spec, device)


def identities(study: Study, settings: Settings) -> dict[str, Identity]:
    """The data of each name that ``study`` trains on."""
    modified = settings.allow_modified_data
    names = sorted({spec.dataset for spec in study.specs if not isinstance(spec, Trial)})
    return {name: identify(name, Path(settings.data_dir), allow_modified_data=modified) for name in names}


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
