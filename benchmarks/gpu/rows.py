"""What a step of the checks reports: one row per figure, written at once, so that a step that is stopped keeps what it had."""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

OK, RED, INFO, SKIPPED = "ok", "RED", "", "skipped"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        check: What was looked at.
        figure: What was found.
        limit: What it must be; empty where it is only measured.
        verdict: One of `OK`, `RED`, `INFO` and `SKIPPED`.
    """

    check: str
    figure: str
    limit: str = ""
    verdict: str = INFO


@dataclass(frozen=True)
class Step:
    """How a step is run.

    Attributes:
        device: ``cuda`` or ``cpu``.
        small: Sizes for a rehearsal.
        path: File of JSON lines that the rows go to.
    """

    device: str
    small: bool
    path: Path

    @classmethod
    def of_arguments(cls) -> "Step":
        """Read the command line that `run.py` gives each step."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--device", default="cuda")
        parser.add_argument("--small", action="store_true")
        parser.add_argument("--rows", type=Path, required=True)
        given = parser.parse_args()
        return cls(given.device, given.small, given.rows)

    def size(self, full: int, small: int) -> int:
        """`full`, or `small` in a rehearsal."""
        return small if self.small else full

    @property
    def architecture(self) -> str:
        """The OpenCLIP model that stands for all."""
        return "ViT-S-32-alt" if self.small else "ViT-B-32"

    def add(self, row: Row) -> None:
        """Write `row`."""
        with open(self.path, "a") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def measured(self, check: str, figure: str) -> None:
        """A figure without a limit."""
        self.add(Row(check, figure))

    def at_most(self, check: str, value: float, limit: float) -> None:
        """A figure that must not be larger; NaN is."""
        self.add(Row(check, f"{value:.2g}", f"<= {limit:g}", OK if value <= limit else RED))

    def at_least(self, check: str, value: float, limit: float) -> None:
        """A figure that must not be smaller; NaN is."""
        self.add(Row(check, f"{value:.6g}", f">= {limit:g}", OK if value >= limit else RED))

    def holds(self, check: str, fact: bool, figure: str = "") -> None:
        """Something that is so, or is not."""
        self.add(Row(check, figure or ("yes" if fact else "no"), "yes", OK if fact else RED))

    def skipped(self, check: str, why: str) -> None:
        """A check that this machine cannot do."""
        self.add(Row(check, why, "", SKIPPED))

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], repeats: int = 5) -> float:
        """Best time of `work` after one that warms up."""
        work()
        best = float("inf")
        for _ in range(repeats):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            best = min(best, time.perf_counter() - started)
        return best
