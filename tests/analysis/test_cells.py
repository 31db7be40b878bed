"""A cell is a mapping of typed knobs: equal for equal settings, ordered, hashable."""

from __future__ import annotations

import pytest

from interplay.analysis.cells import Cell, cell_of
from interplay.spec import RunSpec


def test_what_is_not_told_is_as_documented_and_equal_to_what_is_told_so() -> None:
    told = Cell.of(0.1, 5e-4, 0.9, 128, 100, "cosine", optimizer="sgd", nesterov=False, precision="bf16")
    cell = Cell({"momentum": 0.9, "batch_size": 128, "weight_decay": 5e-4, "lr": 0.1})
    assert cell == told
    assert hash(cell) == hash(told)
    assert (cell["epochs"], cell.schedule, cell["optimizer"], cell.get("dropout", 0.5)) == (100, "cosine", "sgd", 0.5)
    assert cell == cell_of(RunSpec()).without("model", "dataset")
    with pytest.raises(KeyError, match="dropout"):
        cell["dropout"]


def test_numbers_are_equal_to_seven_digits_and_keep_their_type() -> None:
    single = Cell.of(0.10000000149, 0.0005000000237, 0.8999999762, 128)
    assert single == Cell.of(0.1, 5e-4, 0.9, 128)
    assert Cell.of(0.1, 5e-4, 0.9, 128) != Cell.of(0.100001, 5e-4, 0.9, 128)
    assert isinstance(Cell({"batch_size": 128.0}).batch_size, int)
    assert Cell({"depth": 28}) == Cell({"depth": 28.0})
    assert Cell({"data": "11"}) != Cell({"data": 11})


def test_cells_are_ordered_by_what_claims_vary_whatever_else_they_have() -> None:
    cells = [
        Cell.of(0.1, 1e-3, 0.9, 128, model="mlp"),
        Cell.of(0.1, 1e-3, 0.9, 128, model=3),
        Cell.of(0.1, 1e-3, 0.9, 128),
        Cell.of(0.1, 1e-4, 0.9, 256),
        Cell.of(0.02, 1e-3, 0.9, 128),
        Cell({"temperature": "hot"}),
    ]
    assert sorted(cells) == list(reversed(cells))


def test_a_cell_without_a_knob_groups_those_that_differ_in_it_only() -> None:
    cells = [Cell.of(lr, 1e-3, 0.9, 128, model="mlp", dropout=p) for lr in (0.1, 0.2) for p in (0.1, 0.2)]
    assert len({cell.without("lr") for cell in cells}) == 2
    assert {cell.network for cell in cells} == {Cell({"model": "mlp", "dropout": p}) for p in (0.1, 0.2)}
    assert cells[0].replace(lr=0.2, dropout=None) == Cell.of(0.2, 1e-3, 0.9, 128, model="mlp")


def test_words_name_only_what_differs_and_a_dataset_by_its_file() -> None:
    spec = RunSpec(dataset="/far/my images.npz", fingerprint="npz:12", model="mlp", optimizer="adamw", train_limit=500)
    words = "mlp my images.npz beta2=0.999 data=12 eps=1e-08 optimizer=adamw train_limit=500"
    assert cell_of(spec).network.words() == words
    assert cell_of(RunSpec(lr=0.2)).words().startswith("resnet18 cifar100 batch_size=128 lr=0.2")


def test_a_trial_of_another_trainer_is_a_cell_too() -> None:
    trial = Cell({"temperature": 0.7, "layers": (64.0, 32.0), "activation": "gelu", "residual": True, "unused": None})
    assert dict(trial.knobs) == {"temperature": 0.7, "layers": (64.0, 32.0), "activation": "gelu", "residual": True}
    assert "temperature" in trial
    assert "unused" not in trial
    with pytest.raises(KeyError, match="lr"):
        _ = trial.lr
