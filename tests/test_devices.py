from __future__ import annotations

import pytest

from interplay.devices import Gpu, cpu_slots, fitted, gpu_slots, parse_gpus, slots_for
from interplay.errors import SpecError
from interplay.spec import RunSpec

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("all", 4, [0, 1, 2, 3]),
        ("0", 1, [0]),
        ("0,1,2,3", 8, [0, 1, 2, 3]),
        ("0-7", 8, list(range(8))),
        ("0,2-4,7", 8, [0, 2, 3, 4, 7]),
        (" 3 , 1 ", 4, [1, 3]),
    ],
)
def test_every_documented_spelling(text: str, count: int, expected: list[int]) -> None:
    assert parse_gpus(text, count) == expected


@pytest.mark.parametrize(
    ("text", "count", "message"),
    [
        ("8", 8, r"no GPU 8; there are 8 \(0-7\)"),
        ("0,9-10", 8, "no GPU 9, 10"),
        ("0", 0, "there is no usable GPU"),
        ("all", 0, "there is no usable GPU; leave --gpus out"),
        ("0,0", 2, "named once"),
        ("3-1", 4, "the range 3-1 counts down; say 1-3"),
        ("0,,1", 4, "nothing between two commas"),
        ("a", 4, "'a' is neither a number nor a range"),
        ("0-999999", 4, "no GPU 4, 5"),
        ("9" * 5000, 4, "is neither a number nor a range"),
        ("2,0-3", 4, "not 2 twice"),
        ("one", 4, "neither a number nor a range"),
        ("", 4, "neither a number nor a range"),
        ("-1", 4, "neither a number nor a range"),
    ],
)
def test_what_is_not_there_or_not_understood_is_refused(text: str, count: int, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_gpus(text, count)


def test_slots_see_one_gpu_each_and_fill_gpus_evenly() -> None:
    gpus = [Gpu("0", 80 * GIB), Gpu("1", 80 * GIB), Gpu("2", 80 * GIB)]
    slots = gpu_slots("0,2", 2, gpus)
    assert [(slot.name, slot.visible, slot.device) for slot in slots] == [
        ("gpu0.0", "0", "cuda:0"),
        ("gpu2.0", "2", "cuda:0"),
        ("gpu0.1", "0", "cuda:0"),
        ("gpu2.1", "2", "cuda:0"),
    ]


@pytest.mark.parametrize(("free", "slots"), [(None, 1), (4 * GIB, 1), (24 * GIB, 2), (140 * GIB, 4)])
def test_slots_by_free_memory(free: int | None, slots: int) -> None:
    assert slots_for(Gpu("0", free)) == slots


def test_one_worker_a_core_by_default() -> None:
    assert len(cpu_slots(3)) == 3
    assert len(cpu_slots(0)) >= 1
    assert {slot.visible for slot in cpu_slots(2)} == {""}


def test_precision_is_settled_by_the_device_before_the_run_is_named() -> None:
    assert fitted(RunSpec(), "cpu").precision == "fp32"
    assert fitted(RunSpec(), "cuda:0") == RunSpec()
    assert fitted(RunSpec(precision="fp32"), "cuda:0").precision == "fp32"
