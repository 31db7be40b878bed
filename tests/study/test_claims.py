"""Claims of one's own: as data, in a study file, and as the store remembers them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import interplay
from interplay.errors import SpecError
from interplay.spec import RunSpec
from interplay.store.manifest import Manifest, claims, extension_path, read_extension, read_manifest
from interplay.study.claims import PROGRAMME, Claim
from interplay.study.files import parse
from interplay.study.study import Study

pytestmark = pytest.mark.usefixtures("notes_shown")

BASE = {"dataset": "digits", "model": "mlp"}
STATED: tuple[dict[str, Any], ...] = (
    {"optimum": "lr", "along": "batch_size", "exponent": 0.5, "band": 0.2},
    {"optimum": "lr", "along": "train_limit", "exponent": -0.25, "band": 0.1},
    {"optimum": "wd", "along": "batch_size", "exponent": 1, "tied": {"lr": 1}},
    {"product": ["lr", "wd"], "id": "mine", "question": "Is it ηλ alone?"},
    {"product": ["lr", "momentum"], "direction": True},
    {"optimum": "lr", "first": {"optimizer": "adam"}, "second": {"optimizer": "sgd"}, "margin": 0.5},
)


def file(*stated: Any, **more: Any) -> Study:
    return parse({"base": BASE, "claim": list(stated), **more}, Path("x.toml"))


@pytest.mark.parametrize("table", STATED, ids=lambda table: next(iter(table.values())) and str(table)[:40])
def test_a_claim_is_read_written_and_read_again(table: dict[str, Any]) -> None:
    (claim,) = file(table).own_claims()
    assert Claim.from_table(claim.to_table(), "it") == claim
    assert claim.question.endswith("?")
    assert claim.id in file(table).header()
    assert "wd" not in claim.named


def test_a_study_states_claims_of_the_programme_and_of_its_own() -> None:
    study = file(STATED[0], claims=["inverse.profile"])
    assert [claim.id for claim in study.own_claims()] == ["inverse.profile", "lr~batch_size^0.5"]
    assert study.own_claims()[0] in PROGRAMME
    assert study.claims[1] == interplay.Claim("lr", "batch_size", 0.5)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"optimum": "lr", "along": "batch_size"}, "needs an exponent"),
        ({"optimum": "lr", "along": "batch_sise", "exponent": 1}, "did you mean 'batch_size'"),
        ({"optimum": "lr", "along": "batch_size", "exponents": 1}, "did you mean 'exponent'"),
        ({"optimum": "lr", "along": "lr", "exponent": 1}, "along itself"),
        ({"optimum": "lr", "along": "batch_size", "exponent": "half"}, "exponent of a claim must be a number"),
        ({"optimum": "lr", "along": "batch_size", "exponent": 1, "band": -1}, "band of a claim must be greater"),
        ({"optimum": "lr", "along": "batch_size", "exponent": 1, "product": ["lr", "wd"]}, "states one thing"),
        ({"optimum": "lr", "product": ["lr", "wd"]}, "states one thing"),
        ({"product": ["lr", "lr"]}, "names two knobs"),
        ({"product": [["lr"], "wd"]}, "names two knobs"),
        ({"product": "lr"}, "must be a list of two knobs"),
        ({"product": ["lr", "wd"], "direction": "yes"}, "true or false"),
        ({"optimum": "lr", "first": {"momentum": 0}}, "needs first and second"),
        ({"optimum": "lr", "first": {"momentum": 0}, "second": {"momentum": 1}, "margin": "much"}, "margin of a claim"),
        ({"optimum": "lr", "along": "batch_size", "exponent": 1, "tied": {"wd": "x"}}, "weight_decay of a claim"),
        (5, "must be a table"),
    ],
)
def test_what_is_no_claim_is_refused_naming_its_place(table: Any, words: str) -> None:
    with pytest.raises(SpecError, match=r"^x\.toml: claim 2") as error:
        file(STATED[0], table)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_ids_are_not_given_twice_and_one_table_is_no_list() -> None:
    other = {**STATED[0], "band": 0.1}
    for stated in ([STATED[0], other], [{**other, "id": "inverse.profile"}]):
        with pytest.raises(SpecError, match="give one of them another id"):
            file(*stated)
    assert len(file(STATED[0], STATED[0]).claims) == 1
    with pytest.raises(SpecError, match="two brackets"):
        parse({"base": BASE, "claim": STATED[0]}, Path("x.toml"))


# -- in the store -----------------------------------------------------------------------------------------------------


def test_the_store_knows_the_claims_of_the_latest_manifest_of_each_study(tmp_path: Path) -> None:
    small, large = (RunSpec(dataset="digits"),), (RunSpec(dataset="digits"), RunSpec(dataset="digits", lr=0.2))
    first = Manifest("a", small, None, ("inverse.profile", {"product": ["lr", "momentum"]}))
    path = first.write(tmp_path)
    assert read_manifest(path) == first
    Manifest("b", small, None, ("inverse.profile",)).write(tmp_path)
    Manifest("a", large, None, ({"product": ["lr", "batch_size"]},)).write(tmp_path)  # the file was edited since
    Manifest("a", large).write_extension(tmp_path)
    assert claims(tmp_path) == [{"product": ["lr", "batch_size"]}, "inverse.profile"]
    assert claims(tmp_path / "nowhere") == []


def test_manifests_of_earlier_versions_are_read_and_damaged_ones_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Manifest("a", (RunSpec(dataset="digits"),), 2).write(tmp_path)
    text = path.read_text()
    start, end = text.index('"claims"'), text.index('"common"')
    path.write_text(text[:start] + text[end:])
    assert read_manifest(path) == Manifest("a", (RunSpec(dataset="digits"),), 2)
    assert claims(tmp_path) == []
    path.write_text(text.replace('"claims": []', '"claims": 7'))
    assert claims(tmp_path) == []
    assert str(path) in capsys.readouterr().err


def test_studies_of_different_names_have_different_extensions(tmp_path: Path) -> None:
    names = ("a b", "a-b", "a/b", "Ä b")
    assert len({extension_path(tmp_path, name) for name in names}) == len(names)
    Manifest("a b", (RunSpec(dataset="digits"),)).write_extension(tmp_path)
    assert read_extension(tmp_path, "a b") == (RunSpec(dataset="digits"),)
    assert read_extension(tmp_path, "a-b") == ()
