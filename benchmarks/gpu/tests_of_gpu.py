"""The tests that need a GPU; each lives beside the CPU's test of the same thing."""

from benchmarks.gpu.pytest_step import run_tests
from benchmarks.gpu.rows import Step

if __name__ == "__main__":
    run_tests(Step.of_arguments(), "tests that need a GPU", "cuda and not slow")
