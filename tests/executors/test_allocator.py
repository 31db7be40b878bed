"""Memory that a worker frees is kept for its next step."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

from interplay.executors.allocator import keep_freed_memory

STEPS = """
import ctypes, resource, sys
from interplay.executors.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]

def step():
    blocks = [library.malloc(20 << 20) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, 20 << 20)
    for block in reversed(blocks):
        library.free(block)

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not GNU's")
def test_pages_are_cleared_once_and_not_at_every_step() -> None:
    def faults(word: str) -> int:
        told = subprocess.run([sys.executable, "-c", STEPS, word], capture_output=True, text=True, check=True)
        return int(told.stdout)

    pages = (4 * 20 << 20) // resource.getpagesize()
    assert faults("give_back") > 5 * pages  # of ten steps: else there is nothing to keep
    assert faults("keep") < pages // 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
