"""The tests of the host's versions of Python, torch, numpy and transformers, on its CPU."""

from benchmarks.gpu.pytest_step import run_tests
from benchmarks.gpu.rows import Step

if __name__ == "__main__":
    run_tests(Step.of_arguments(), "tests on the CPU of this host", "not slow and not demo and not cuda")
