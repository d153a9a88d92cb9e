"""What the system has to give a step that needs as much memory as the one before: nothing, if the process kept it."""

import subprocess
import sys

import pytest

from pipeline import allocator
from pipeline.decode.isolated import POSSIBLE

STEPS = """
import resource, sys, torch
from pipeline.allocator import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
def step():
    first = torch.ones(1 << 24)  # 64 MiB, 16,384 pages
    return (first + 1) @ first
for _ in range(9):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(how: str) -> tuple[bool, int]:
    said = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True).stdout.split()
    return said[0] == "True", int(said[1])


def test_later_steps_get_no_new_pages() -> None:
    kept, new = pages("keep")
    if not kept:
        pytest.skip("the allocator is not glibc's")
    assert new < 100 < 1000 < pages("as it was")[1]


RETURNED = """
import torch
from pipeline.allocator import keep_freed_memory, return_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4
keep_freed_memory()
rows = torch.ones(1 << 26)  # 256 MiB
del rows
kept = resident()
return_freed_memory()
print(kept - resident())
"""


def test_what_is_kept_can_be_returned() -> None:
    done = subprocess.run([sys.executable, "-c", RETURNED], capture_output=True, text=True, check=True)
    if not pages("keep")[0]:
        pytest.skip("the allocator is not glibc's")
    assert int(done.stdout) > 200_000, "KiB"


FORKED = """
import re, torch
from pipeline.allocator import keep_freed_memory
from pipeline.decode.isolated import Isolated
def own(_=None):  # KiB that no file is behind: a child does not begin with those of files
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])
keep_freed_memory()
rows = torch.ones(1 << 26)  # 256 MiB
held = own()
del rows
with Isolated(own) as calls:
    calls.start()
    print(held - calls([None])[0])
"""


def test_what_is_kept_is_returned_before_decoders_are_forked() -> None:
    if not (pages("keep")[0] and POSSIBLE):
        pytest.skip("the allocator is not glibc's, or nothing is forked")
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 200_000, "KiB that the child has not"


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert not allocator.keep_freed_memory()
    allocator.return_freed_memory()
