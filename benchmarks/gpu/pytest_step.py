"""Tests of the suite as one row of the table."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

from benchmarks.gpu.rows import OK, RED, SKIPPED, Row, Step

# Packages that DVC is not needed for, which a GPU host has not.
FOLDERS = ("connect", "decode", "encode", "evaluate", "retrieve", "spaces", "store", "train")
QUICK = (
    "tests/retrieve/memory/test_aggregate.py",
    "tests/retrieve/memory/test_sampling.py",
    "tests/evaluate/ranking/test_counting.py",
)
WORKERS = 14
SHOWN, LINES = 16, 12  # failures, and lines of each
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_tests(step: Step, check: str, marks: str) -> None:
    """Run the tests with `marks`; red where one fails, and skipped where all are."""
    where = QUICK if step.small else tuple(f"tests/{folder}" for folder in FOLDERS)
    command = [sys.executable, "-m", "pytest", "-o", "addopts=--strict-markers", "-p", "no:cacheprovider", "--continue-on-collection-errors",
               "-q", "--tb=short", "-m", marks, *where]  # fmt: skip
    if not step.small and find_spec("xdist"):
        command += ["-n", str(min(WORKERS, os.cpu_count() or 1))]
    # Each worker would otherwise start as many threads as there are cores.
    environment = os.environ | dict.fromkeys(THREADS, "1")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    print(*failures(done.stdout), done.stdout[-1000:], done.stderr[-1000:], sep="\n")
    counts = {
        word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", done.stdout[-300:])
    }
    failed = sum(counts.get(word, 0) for word in ("failed", "error", "errors"))
    figure = ", ".join(f"{count} {word}" for word, count in counts.items()) or f"pytest ended with {done.returncode}"
    verdict = SKIPPED if set(counts) == {"skipped"} else OK if counts.get("passed") and not failed else RED
    step.add(Row(check, figure, "0 failed", verdict))
    for line in [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))][:SHOWN]:
        test, _, why = line.partition(" - ")
        step.add(Row(test, why[:160], "", RED))


def failures(said: str) -> list[str]:
    """The name and the last lines of each test that failed: what was raised stands at the end of a traceback."""
    tests = re.split(r"^(?=_{3,} .+ _{3,}$)", said.partition("short test summary info")[0], flags=re.MULTILINE)[1:]
    return ["\n".join([(lines := test.splitlines())[0], *lines[1:][-LINES:]]) for test in tests[:SHOWN]]
