"""What columns mean: names in the spellings of other tools, and what can be no knob."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from interplay.spellings import KNOBS, plain, words

METRICS = words(
    {
        "final_test_acc": "final_test_accuracy test_acc test_accuracy test_top1 test_acc1 eval_acc eval_accuracy "
        "mean_accuracy accuracy acc",
        "best_test_acc": "best_test_accuracy max_test_acc max_test_accuracy best_acc best_accuracy best_acc1",
        "final_test_loss": "test_loss eval_loss",
        "final_train_loss": "train_loss training_loss",
        "final_val_acc": "final_val_accuracy val_acc val_accuracy valid_acc valid_accuracy validation_acc "
        "validation_accuracy",
    }
)
"""What a run can be judged by; of several columns that could be one, the first of these names is it."""

OTHERS = words(
    {
        "seed": "random_seed rng_seed manual_seed random_state torch_seed repeat repetition replicate rep replica",
        "status": "state run_state run_status trial_state trial_status done",
        "method": "",
        "own_knobs": "",
        "other_knobs": "",
        "sum_of_rates": "",
        "window_epochs": "",
    }
)
"""What else is read."""

STANDARD = {"weight_decay": ("wd",), "status": ("state",)}
"""Names that need no remark when they are read, besides the standard ones."""

OWN = frozenset(
    "run_id e_folds tau_epochs parameters wall_seconds images_per_second device commit committed_at".split()
)
"""Columns of results.csv that the analysis has no use for, and that need no remark."""

_CONFIG = frozenset(
    "config configs cfg conf params param parameters hparams hparam hp hyperparameters hyperparams args".split()
)
_RESULTS = frozenset("metrics metric summary results".split())
_GROUPS = frozenset(
    "optimizer optimiser optim opt train training trainer data dataset datamodule loader model scheduler lr_scheduler "
    "experiment exp run general global sgd attributes info user_attrs".split()
)
_KEEPING = frozenset(
    "name id run run_name number index unnamed_0 tag tags note notes user username created updated start end date time "
    "timestamp duration runtime elapsed host hostname node node_ip pid ip sweep group job job_type project entity "
    "commit device gpu gpu_name cuda machine platform version source source_name source_type lifecycle_stage reason "
    "error_message traceback verbose workers num_workers n_jobs wandb logdir params parameters num_params n_params "
    "description comment trial".split()
)
_KEEPING_PARTS = frozenset(
    "id uuid time timestamp second seconds sec secs hour hours minutes date datetime path dir directory url uri "
    "host hostname hash memory mem throughput file folder git slurm tags system_attrs user_attrs created updated "
    "flops".split()
)
_OUTCOME_PARTS = frozenset(
    "acc accuracy acc1 acc5 loss err error top1 top5 f1 auc auroc perplexity ppl nll metric score ece gap".split()
)
_OUTCOMES = frozenset(
    "value value_0 values_0 values_1 objective epoch step steps global_step iterations training_iteration best_epoch "
    "last_epoch iter grad_norm weight_norm".split()
)


class Kind(StrEnum):
    """What a column can be that has no standard name."""

    KNOB = "knob"
    """Its name says that it is one (``config.``, ``params_``)."""
    KEEPING = "bookkeeping"
    """Names, dates, machines: different in every run, and no reason for anything."""
    OUTCOME = "outcome"
    """Measured by a run, if it is a number."""
    OTHER = "other"
    """Its values must tell."""


@dataclass(frozen=True)
class Columns:
    """Which columns are which, by index. ``found`` by standard name: several where two names mean one thing."""

    found: Mapping[str, tuple[int, ...]]
    others: Mapping[int, Kind]
    names: Mapping[int, str]
    """What those without a standard name are called as knobs: in plain words, without ``config.`` and the like."""


@cache
def _known() -> dict[str, tuple[str, int]]:
    """By spelling: the standard name, and how far down its list the spelling stands."""
    every = {**KNOBS, **METRICS, **OTHERS}
    return {word: (name, rank) for name, words in every.items() for rank, word in enumerate(words)}


def known(text: str) -> bool:
    """Whether a column of this name is understood."""
    return _standard(text)[0] is not None


def standard_name(text: str) -> str | None:
    """The standard name of what a column of this name holds, if it has one."""
    return _standard(text)[0]


def recognise(header: Sequence[str]) -> Columns:
    """Understand names in any case and in the usual spellings (``learning_rate``, ``config.lr``, ``params_lr``, …)."""
    found: dict[str, list[int]] = {}
    others: dict[int, Kind] = {}
    names: dict[int, str] = {}
    ranks: dict[int, int] = {}
    for index, text in enumerate(header):
        name, ranks[index], kind, plain = _standard(text)
        if name is None:
            others[index], names[index] = kind, plain
        else:
            found.setdefault(name, []).append(index)
    for name in METRICS:
        if len(found.get(name, ())) > 1:  # one of several metrics is chosen; of a knob all names must agree
            best = min(found[name], key=lambda index: ranks[index])
            others |= {index: Kind.OUTCOME for index in found[name] if index != best}
            names |= {index: header[index] for index in found[name] if index != best}
            found[name] = [best]
    taken = Counter(names.values())
    names = {index: name if name and taken[name] == 1 else header[index] for index, name in names.items()}
    return Columns({name: tuple(indexes) for name, indexes in found.items()}, others, names)


def _standard(text: str) -> tuple[str | None, int, Kind, str]:
    """The standard name of a column and the rank of its spelling; or none and what it can be. Last its plain name."""
    parts = [plain(part) for part in re.split(r"[./:]", text.strip())]
    prefix = re.match(r"(hparams|params|param|config|hyperparameters|user_attrs)_(?=.)", parts[0])
    if prefix:
        parts = [prefix.group(1), parts[0][prefix.end() :], *parts[1:]]
    config = results = False
    while True:
        whole = "_".join(filter(None, parts))
        if whole in _known() and not (results and _known()[whole][0] in KNOBS):
            return (*_known()[whole], Kind.KNOB, whole)
        if len(parts) < 2 or parts[0] not in _CONFIG | _RESULTS | _GROUPS:
            break
        config, results = config or parts[0] in _CONFIG, results or parts[0] in _RESULTS
        parts = parts[1:]
    return None, 0, _kind(whole, config=config, results=results), whole


def _kind(name: str, *, config: bool, results: bool) -> Kind:
    words = set(name.split("_"))
    if not name or name in _KEEPING | OWN or words & _KEEPING_PARTS or name.startswith(("user_attrs", "system_attrs")):
        return Kind.KEEPING
    if config:
        return Kind.KNOB
    if results or name in _OUTCOMES or words & _OUTCOME_PARTS:
        return Kind.OUTCOME
    return Kind.OTHER
