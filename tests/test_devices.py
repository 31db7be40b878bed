from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

from interplay import devices
from interplay.devices import (
    Gpu,
    cpu_multiplies_bf16,
    cpu_slots,
    fitted,
    gpu_model,
    gpu_slots,
    inline_slot,
    parse_gpus,
    slots_for,
    visible_gpus,
)
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


# -- a driver that is made up ------------------------------------------------------------------------------------------

Driver = Callable[..., None]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """Makes up NVML and torch's view of it: so many GPUs of a capability, and what fails."""

    def fail(code: int) -> Any:
        def raises(*_: Any) -> Any:
            raise pynvml.NVMLError(code)

        return raises

    def made(
        count: int, *, capability: tuple[int, int] = (9, 0), absent: bool = False, shares_memory: bool = False
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        none = fail(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        monkeypatch.setattr(pynvml, "nvmlInit", none if absent else lambda: None)
        monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: count)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"GPU-{handle}aaa-bbb")
        monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: f"GPU number {handle}")
        parts = {"MIG-7": 100}
        known = fail(pynvml.NVML_ERROR_NOT_FOUND)
        monkeypatch.setattr(
            pynvml, "nvmlDeviceGetHandleByUUID", lambda name: parts[name] if name in parts else known(name)
        )
        monkeypatch.setattr(
            pynvml,
            "nvmlDeviceGetMemoryInfo",
            fail(pynvml.NVML_ERROR_NOT_SUPPORTED)
            if shares_memory
            else lambda handle: SimpleNamespace(free=(40 + handle) * GIB),
        )
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCudaComputeCapability", lambda handle: capability)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices._without_bf16.cache_clear()
    yield made
    devices._without_bf16.cache_clear()


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, [("0", 40), ("1", 41), ("2", 42)]),
        ("2,0", [("2", 42), ("0", 40)]),
        ("1,7,0", [("1", 41)]),  # up to the first that is not there
        ("0,-1,1", [("0", 40)]),
        ("", []),
        ("GPU-1aaa-bbb,GPU-2", [("GPU-1aaa-bbb", 41), ("GPU-2", 42)]),
        ("GPU-,0", []),  # the beginning of all three
        ("MIG-7", [("MIG-7", 140)]),
        ("MIG-8,0", []),
    ],
)
def test_gpus_are_those_that_cuda_would_see_with_their_memory(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str | None, seen: list[tuple[str, int]]
) -> None:
    driver(3)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [(gpu.name, (gpu.free or 0) // GIB) for gpu in visible_gpus()] == seen


def test_a_driver_that_tells_no_memory_or_nothing_at_all_is_no_absent_gpu(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(1, shares_memory=True)
    assert visible_gpus() == [Gpu("0", None, (9, 0))]
    driver(2, absent=True)
    assert visible_gpus() == [Gpu("0"), Gpu("1")]
    assert gpu_model("0") == "a GPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")  # torch sees two of them
    assert visible_gpus() == [Gpu("5"), Gpu("6")]


def test_a_probe_of_the_inline_executor_sees_the_gpu_that_trains(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-3")
    first, second = inline_slot("0"), inline_slot("1")
    assert [(slot.device, slot.visible) for slot in (first, second)] == [("cuda:0", "5"), ("cuda:1", "GPU-3")]
    assert (gpu_model("5"), gpu_model("GPU-3"), gpu_model("GPU-9")) == ("GPU number 5", "GPU number 3", "a GPU")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags : fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features : fp asimd bf16 i8mm\n", True),
        ("flags : fpu avx2\nflags : fpu avx2\n", False),
        ("processor : 0\n", None),
        (None, None),
    ],
)
def test_whether_a_processor_multiplies_bf16_is_read_from_what_the_system_says(
    monkeypatch: pytest.MonkeyPatch, text: str | None, expected: bool | None
) -> None:
    def read(path: Path, **words: Any) -> str:
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read)
    assert cpu_multiplies_bf16() is expected


def test_bf16_on_a_cpu_is_a_choice_and_a_processor_without_it_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "cpu_multiplies_bf16", lambda: False)
    devices._say_without_bf16.cache_clear()
    for _ in range(2):
        assert fitted(RunSpec(), "cpu", cpu_bf16=True) == RunSpec()
    assert caplog.text.count("this processor has no bf16") == 1
    assert fitted(RunSpec(precision="fp32"), "cpu", cpu_bf16=True).precision == "fp32"
    devices._say_without_bf16.cache_clear()


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((12, 0), "bf16")])
def test_a_gpu_without_bf16_trains_in_fp32_and_the_run_is_named_so(
    driver: Driver, capability: tuple[int, int], precision: str
) -> None:
    driver(2, capability=capability)
    assert fitted(RunSpec(), "cuda:0").precision == precision
    assert fitted(RunSpec(precision="fp32"), "cuda:0").precision == "fp32"
