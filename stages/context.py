"""What every stage does around its work: parameters, threads, progress, the accounting line."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files.atomic import write_text
from pipeline.params.model import Params
from pipeline.plugins import ABOUT, ABOUT_NAME, FOLDER
from stages.engines import see_chosen_gpus
from stages.printing import note, say
from stages.terminal.progress import ConsoleProgress as ConsoleProgress

if TYPE_CHECKING:  # commands that read no store need no NumPy and no Arrow, which take longer to import than all else
    from pipeline.store.manifest import Manifest
    from pipeline.store.parts.share import Share

DATA = Path("data")
SHARDS, EMBEDDINGS, PAIRS = DATA / "shards", DATA / "embeddings", DATA / "pairs"
MODELS, METRICS, REPORTS = DATA / "models", DATA / "metrics", DATA / "reports"
# Galleries as they are in a connected space, for the next search; nothing depends on it.
INDEX = DATA / "index"
# What samples hold, to find copies in other corpora; it is found again where it is missing.
LIKENESS = DATA / "likeness"
# What raw data and weights hold, for DVC.
INPUTS = DATA / "inputs"
RESULTS = (INPUTS, SHARDS, EMBEDDINGS, PAIRS, MODELS, METRICS, REPORTS)
# What is known about evaluation sets besides their embeddings: classes, boxes.
ANNOTATIONS = DATA / "annotations"
# Encoders and methods of the user.
PLUGINS = FOLDER
SWEEPS = DATA / "sweeps"

log = logging.getLogger("mcr")


def set_up_torch(params: Params) -> None:
    """Fix which GPUs are seen, the thread count, and deterministic kernels."""
    see_chosen_gpus(params)
    set_up_threads(params.threads)


def set_up_threads(threads: int) -> None:
    """Fix the thread count and deterministic kernels; keep freed memory."""
    from threadpoolctl import threadpool_limits

    from pipeline.allocator import keep_freed_memory

    keep_freed_memory()
    make_deterministic(threads)
    threadpool_limits(threads)  # NumPy's own, which adds up in as many pieces as it has threads


def make_deterministic(threads: int) -> None:
    """Let torch compute with `threads` threads, by kernels that give the same bytes each time."""
    import torch

    torch.set_num_threads(threads)
    # The same as `use_deterministic_algorithms`, without its import of the compiler, which takes longer than most stages.
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time for nothing


def device_of(params: Params) -> str:
    """The device to compute on, such as ``cpu`` or ``cuda``.

    Raises:
        UserError: It does not multiply float32 as such.
    """
    import torch

    from pipeline.precision import check_float32

    chosen = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = {"auto": params.run.device, "cpu": "cpu"}.get(str(params.run.devices), "cuda")
    device = chosen if wanted == "auto" else wanted
    if device != "cpu" and (params.run.engine == "local" or torch.cuda.is_available()):  # a cluster has its own GPUs
        check_float32(device)
    return device


def account(stage: str, name: str, manifest: "Manifest", computed: int, spent: str = "") -> None:
    """Print the accounting line of a folder of parts: in = out + rejected, what of its source is not read, and what
    it took as `spent` says."""
    total = manifest.rows + manifest.rejected
    kinds = ", ".join(f"{what} {count:,}" for what, count in manifest.not_read.items())
    transparent = sum(part.transparent for part in manifest.parts)
    say(
        f"{stage} {name}: in {total:,} = {manifest.rows:,} out + {manifest.rejected:,} rejected"
        + (f", {sum(manifest.not_read.values()):,} not read ({kinds})" if kinds else "")
        + (f"; {transparent:,} pictures have transparency" if transparent else "")
        + f"; {computed} of {len(manifest.parts)} parts computed, the others were up to date"
        + (f"; {spent}" if spent else "")
    )


def make_plugins_folder() -> None:
    """Make the folder of plug-ins: stages depend on it, and DVC warns of an empty one at each of them."""
    PLUGINS.mkdir(exist_ok=True)
    if not any(PLUGINS.iterdir()):
        write_text(PLUGINS / ABOUT_NAME, ABOUT)


def break_locks(wanted: bool, output: Path, share: "Share | None" = None) -> None:
    """If that is `wanted`, remove the locks in `output`, and say whose they were; those of other shares than `share` stay."""
    from pipeline.store.lock import LOCK_NAME, break_lock

    own = str(share.folder(Path("*")) / LOCK_NAME) if share and share.partial else LOCK_NAME
    for path in output.rglob(own) if wanted else ():
        holder = break_lock(path.parent)
        note(
            f"Broke the lock of {path.parent}" + (f", held by process {holder.pid} on {holder.host}" if holder else "")
        )
