"""Names of knobs in the spellings of other tools and other people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache


def words(names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Each standard name with its other spellings, itself first."""
    return {name: (name, *others.split()) for name, others in names.items()}


KNOBS = words(
    {
        "lr": "learning_rate learningrate learn_rate lrate eta lr0 base_lr max_lr peak_lr init_lr initial_lr lr_init "
        "lr_max start_lr optimizer_lr optim_lr sgd_lr base_learning_rate peak_learning_rate initial_learning_rate "
        "learning_rate_init max_learning_rate eta0",
        "weight_decay": "wd lambda weightdecay wdecay w_decay l2 l2_reg l2_penalty weight_decay_rate "
        "optimizer_weight_decay",
        "momentum": "mom mu beta1 beta_1 sgd_momentum optimizer_momentum",
        "batch_size": "bs b batchsize batch bsz train_batch_size batch_size_train training_batch_size train_bs "
        "global_batch_size total_batch_size mini_batch_size minibatch_size minibatch",
        "epochs": "num_epochs n_epochs nb_epochs max_epochs nepochs total_epochs num_train_epochs train_epochs "
        "training_epochs number_of_epochs",
        "schedule": "scheduler sched lr_schedule lr_scheduler lr_sched schedule_name schedule_type scheduler_name "
        "scheduler_type lr_schedule_name lr_schedule_type lr_scheduler_name lr_scheduler_type learning_rate_schedule "
        "learning_rate_scheduler",
        "optimizer": "optimiser optim opt optimizer_name optimizer_type optimiser_name optim_name opt_name",
        "model": "arch architecture network net model_name model_arch model_type arch_name network_name backbone",
        "dataset": "data data_set dataset_name data_name",
        "train_limit": "",
        "val_split": "",
        "label_noise": "",
        "nesterov": "use_nesterov optimizer_nesterov",
        "dampening": "optimizer_dampening",
        "decay_on": "",
        "warmup_epochs": "num_warmup_epochs n_warmup_epochs lr_warmup_epochs",
        "precision": "",
    }
)
"""Knobs of a run by their standard names, with the other names that they are known by."""

_GREEK = str.maketrans({"η": "eta", "λ": "lambda", "μ": "mu", "µ": "mu"})  # the last is the micro sign


def plain(text: str) -> str:
    """Lower case, words joined by underscores; ``learningRate`` has two words."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", text.strip()).translate(_GREEK)
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


@cache
def _by_spelling() -> dict[str, str]:
    return {spelling: name for name, spellings in KNOBS.items() for spelling in spellings}


def standard_names(names: Iterable[str]) -> dict[str, str]:
    """The standard names that some of ``names`` stand for, each with the name that stands for it.

    A standard name stands for itself; of two spellings of one name neither is taken, since nothing says which is meant.
    """
    names = tuple(names)
    found = {name: name for name in names if name in KNOBS}
    others: dict[str, list[str]] = {}
    for name in names:
        standard = _by_spelling().get(plain(name))
        if standard is not None and standard not in found:
            others.setdefault(standard, []).append(name)
    return found | {standard: spelt[0] for standard, spelt in others.items() if len(spelt) == 1}
