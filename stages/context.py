"""What every stage does around its work: parameters, threads, progress, the accounting line."""

import logging
import time
from pathlib import Path

from rich.console import Console

from pipeline.params.model import Params
from pipeline.store.manifest import Manifest

DATA = Path("data")
SHARDS, EMBEDDINGS, PAIRS = DATA / "shards", DATA / "embeddings", DATA / "pairs"
MODELS, METRICS, REPORTS = DATA / "models", DATA / "metrics", DATA / "reports"

console = Console(stderr=True)
log = logging.getLogger("mcr")


class ConsoleProgress:
    """Rate and time left on the standard error stream, and what the time was spent on.

    A line every few seconds rather than a bar: it reads the same in a terminal, in a log file and below `dvc repro`.
    """

    def __init__(self, interval: float = 5.0) -> None:
        self.interval = interval

    def start(self, task: str, total: int, unit: str) -> None:
        """Begin a new count."""
        self.task, self.total, self.unit = task, total, unit
        self.done = 0
        self.seconds: dict[str, float] = {}
        self.began = self.printed = time.monotonic()

    def advance(self, count: int, **seconds: float) -> None:
        """Add to the count and, when it is time, print where it stands."""
        self.done += count
        for name, spent in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
        now = time.monotonic()
        if now - self.printed < self.interval or self.done >= self.total:
            return
        self.printed = now
        rate = self.done / max(now - self.began, 1e-9)
        remaining = (self.total - self.done) / max(rate, 1e-9)
        whole = sum(self.seconds.values())
        split = " ".join(f"{name} {100 * spent / whole:.0f} %" for name, spent in self.seconds.items()) if whole else ""
        console.print(
            f"{self.task}: {self.done:,} of {self.total:,} {self.unit}, {rate:,.0f}/s, {remaining:.0f} s left  {split}",
            highlight=False,
        )


def prepare_torch(params: Params) -> str:
    """Fix the thread count and deterministic kernels; return the device to compute on."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(params.threads)
    threadpool_limits(params.threads)  # NumPy's own, which adds up in as many pieces as it has threads
    # The same as `use_deterministic_algorithms`, without its import of the compiler, which takes longer than most stages.
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time for nothing
    if params.run.device != "auto":
        return params.run.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def account(stage: str, name: str, manifest: Manifest, computed: int) -> None:
    """Print the accounting line of a folder of parts: in = out + rejected."""
    total = manifest.rows + manifest.rejected
    print(
        f"{stage} {name}: in {total:,} = {manifest.rows:,} out + {manifest.rejected:,} rejected; "
        f"{computed} of {len(manifest.parts)} parts computed, the others were up to date"
    )
