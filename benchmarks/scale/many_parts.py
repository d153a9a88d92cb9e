"""What keeping books of many parts costs: 1,000 and 10,000 shards of one sample each, encoded by a model that does next to nothing.

    python benchmarks/scale/many_parts.py
    python benchmarks/scale/many_parts.py --parts 1000 2000 --json result.json

`planning` opens the corpus and the store and finds out what to encode, and encodes nothing; `bookkeeping` commits a part for
every shard, in processor seconds without the making of the parts; `no-op` encodes the corpus once more when everything is there, in the
project (where DVC is) and outside of one, where every part is hashed. Each is a process of its own, and its seconds are those
that passed after Python and its libraries were there. `MB` is the most memory that the process held beyond what these take. Slopes are those of the logarithms: 1 is linear.
"""

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pipeline.encode import job  # noqa: E402
from pipeline.encode.job import EncodeSettings, encode_corpus  # noqa: E402
from pipeline.files import atomic  # noqa: E402
from pipeline.hashing import sha256_file, sha256_keys  # noqa: E402
from pipeline.progress import Progress, Silent  # noqa: E402
from pipeline.spaces import SpaceSpec  # noqa: E402
from pipeline.store import Made, Part, PartFolder, Rows, Source, Work, run_parts, write_rows  # noqa: E402
from pipeline.store.manifest import Manifest  # noqa: E402
from pipeline.store.parts.names import numbered, path_in_folder  # noqa: E402
from pipeline.store.shards import SHARDS, ShardSample, write_shard  # noqa: E402

SIZES = (1_000, 10_000)
SPEC = SpaceSpec("lengths", "nowhere")
STEPS = ("planning", "no-op", "no-op, hashing", "bookkeeping")


class Lengths:
    """A space whose embedding of a text says how long it is."""

    modalities = ("text",)
    dimension = 2

    def fingerprint(self, modality: str) -> dict[str, object]:
        """Nothing that could change."""
        return {"family": "lengths"}

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """The length [1]."""
        return torch.tensor([float(len(payload))])

    def encode(self, modality: str, batch: Tensor) -> Tensor:
        """Unit vectors [B, 2]."""
        return torch.nn.functional.normalize(torch.cat([batch, torch.ones(len(batch), 1)], dim=1), dim=1)


class PlannedError(Exception):
    """Says that all was planned; nothing is to be made."""


class NothingIsMade:
    """An engine that ends the run before the first part."""

    def make(self, folder: Path, works: Any, making: object, progress: object) -> Any:
        """Refuse."""
        raise PlannedError


def make_corpus(folder: Path, count: int) -> None:
    """`count` shards of one caption each, under a manifest."""
    folder.mkdir(parents=True)
    parts = []
    for number in range(count):
        name, key = f"{numbered(number)}.tar", f"{number:012d}"
        path = folder / path_in_folder(name)
        path.parent.mkdir(exist_ok=True)
        write_shard(path, [ShardSample(key, {"txt": f"caption {number}".encode()})])
        parts.append(Part(path_in_folder(name), 1, sha256_file(path), sha256_keys([key]), name))
    Manifest(SHARDS, {"modalities": ["text"]}, tuple(parts), complete=True, corpus=folder.name).save(folder)


def encode(folder: Path) -> int:
    """Encode the corpus; how many parts were computed."""
    settings = EncodeSettings(batch_size=1, workers=1, max_rejected=0.0)
    made = encode_corpus(Lengths(), "lengths", SPEC, folder / "shards/c", folder / "embeddings/c", settings, Silent())
    return made["text"][1]


def planning(folder: Path) -> float:
    """Seconds until it is known which parts to make."""

    def planned(parts: PartFolder, works: Sequence[Work], task: str, unit: str, progress: Progress, *_: Any) -> None:
        run_parts(parts, works, task, unit, progress, NothingIsMade())

    job.run_parts = planned
    began = time.perf_counter()
    try:
        encode(folder)
    except PlannedError:
        return time.perf_counter() - began
    raise AssertionError("it made parts")


def no_op(folder: Path) -> float:
    """Seconds of a run that finds everything there."""
    began = time.perf_counter()
    if encode(folder):
        raise AssertionError("it made parts")
    return time.perf_counter() - began


def bookkeeping(folder: Path, count: int) -> float:
    """Processor seconds of committing `count` parts, without those of making them; the disk is not waited for."""
    atomic.sync_descriptor = lambda descriptor: None
    spent = [0.0]
    unit = torch.tensor([[1.0, 0.0]]).numpy()

    def make(path: Path, progress: object) -> Made:
        began = time.process_time()
        write_rows(path, Rows(["k"], {"embedding": unit}, {}), {})
        spent[0] += time.process_time() - began
        return Made(["k"])

    began = time.process_time()
    works = [Work(f"part-{numbered(number)}.parquet", Source(str(number)), make, 1) for number in range(count)]
    with PartFolder(folder / "parts", "embeddings", {"code": 1}) as parts:
        run_parts(parts, works, "test", "samples", Silent())
        parts.finish(0.0)
    return time.process_time() - began - spent[0]


RUNS: dict[str, Callable[[Path, int], float]] = {
    "planning": lambda folder, count: planning(folder),
    "no-op": lambda folder, count: no_op(folder),
    "no-op, hashing": lambda folder, count: no_op(folder),
    "bookkeeping": bookkeeping,
}


def apart(step: str, folder: Path, count: int) -> dict[str, float]:
    """Seconds and the most memory in MB of one step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--parts", str(count)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure(count: int, folder: Path) -> dict[str, Any]:
    """All steps for `count` parts."""
    found: dict[str, Any] = {"parts": count}
    make_corpus(folder / "shards/c", count)
    found["planning"] = apart("planning", folder, count)
    found["encoding"] = apart("encode", folder, count)
    found["no-op, hashing"] = apart("no-op, hashing", folder, count)
    (folder / ".dvc").mkdir()
    apart("no-op", folder, count)  # the first one takes the hashes and records what the files look like
    found["no-op"] = apart("no-op", folder, count)
    found["bookkeeping"] = apart("bookkeeping", folder, count)
    return found


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, nargs="*", default=SIZES)
    parser.add_argument("--folder", type=Path, help="where to write, such as a disk to be tried (default: temporary)")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--step", choices=[*RUNS, "encode"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(json.dumps(one(given.step, given.folder, given.parts[0])))
        return
    rows = []
    for count in given.parts:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            rows.append(measure(count, Path(folder)))
        for step in ("encoding", *STEPS):
            print(
                f"{count:>8,} parts  {step:<16} {rows[-1][step]['seconds']:8.2f} s  "
                f"{rows[-1][step]['processor']:8.2f} s of the processor  {rows[-1][step]['mb']:5.0f} MB"
            )
    slopes = {step: slope(rows[0], rows[-1], step) for step in STEPS} if len(rows) > 1 else {}
    print("slopes  " + "  ".join(f"{step} {value:.2f}" for step, value in slopes.items()))
    if given.json:
        machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        result = {"machine": machine, "commit": commit, "sizes": rows, "slopes": slopes}
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def one(step: str, folder: Path, count: int) -> dict[str, float]:
    """Run one step here."""
    torch.set_num_threads(1)
    before, used = peak(), time.process_time()
    began = time.perf_counter()
    seconds = RUNS[step](folder, count) if step in RUNS else encode(folder) and time.perf_counter() - began
    used = time.process_time() - used
    return {"seconds": round(seconds, 3), "processor": round(used, 3), "libraries_mb": before, "mb": peak() - before}


def peak() -> int:
    """The most memory that this process held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def slope(few: dict[str, Any], many: dict[str, Any], step: str) -> float:
    """How the processor's seconds of a step grow between two sizes, which another load on the machine hardly changes."""
    return math.log(many[step]["processor"] / few[step]["processor"]) / math.log(many["parts"] / few["parts"])


if __name__ == "__main__":
    main()
