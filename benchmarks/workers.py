"""What a second worker process gains: one corpus of captions by one process, by two, and by this one, on a machine that is idle.

    python benchmarks/workers.py                       ViT-B-32's text tower with random weights, on CPUs
    python benchmarks/workers.py --processes 4 --json result.json

Each process computes with one thread and decodes in one beside it, which next to a text tower does next to nothing. All take
turns in one run. Processes are started, and the model is loaded, before the clock starts. `ratio` is of medians, to one process;
`busy` is how many cores the rest of the machine kept busy meanwhile, which ought to be 0.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import encode  # noqa: E402
from pipeline.encode.decoders import THREADS  # noqa: E402
from pipeline.encode.job import EncodeSettings, encode_corpus  # noqa: E402
from pipeline.engines.local import LocalCrew  # noqa: E402
from pipeline.engines.pool import Pool  # noqa: E402
from pipeline.engines.supervised import Limits  # noqa: E402
from pipeline.progress import Silent  # noqa: E402
from pipeline.spaces import Space, SpaceSpec  # noqa: E402
from pipeline.store.parts.run import ALONE, Execution  # noqa: E402

SHARD = 256


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--samples", type=int, default=4096, help=f"in shards of {SHARD}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the result here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    encode.SHARD = SHARD
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec, space = encode.make_space("open_clip", folder, argparse.Namespace(precision="fp32", device="cpu"))
        rows = measure(spec, space, folder, given)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "processes": given.processes,
        "samples": given.samples,
        "rows": rows,
        "ratio": rows[f"{given.processes} processes"]["rate"] / rows["1 process"]["rate"],
    }
    print(result["machine"])
    for name, row in rows.items():
        print(f"{name:14} {row['rate']:8.1f} samples/s   others busy on {row['busy']:.2f} cores")
    print(f"ratio {result['ratio']:.2f}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def measure(spec: SpaceSpec, space: Space, folder: Path, given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Samples a second, each turn's seconds, and what others kept busy, by engine."""
    small = encode.make_shards(folder / "small", "open_clip", "text", SHARD * given.processes)
    corpus = encode.make_shards(folder / "corpus", "open_clip", "text", given.samples)
    start = partial(torch.set_num_threads, 1)
    pools = [Pool(LocalCrew([{}] * count, start, Limits(600))) for count in (1, given.processes)]
    names = ("this process", "1 process", f"{given.processes} processes")
    executions = dict(zip(names, (ALONE, *map(Execution, pools)), strict=True))
    stores = _numbered(folder)
    how = EncodeSettings(64, 1, 0.0, decode=THREADS)
    times: dict[str, list[float]] = {name: [] for name in executions}
    busy: dict[str, list[float]] = {name: [] for name in executions}
    for turn in range(given.repeats + 1):
        for name, execution in executions.items():
            others, started = _others(), time.perf_counter()
            shards = corpus if turn else small  # the first turn starts processes and loads models
            encode_corpus(space, "text", spec, shards, next(stores), how, Silent(), execution)
            if turn:
                times[name].append(time.perf_counter() - started)
                busy[name].append((_others() - others) / times[name][-1])
    for pool in pools:
        pool.close()
    return {
        name: {
            "rate": given.samples / statistics.median(each),
            "seconds": each,
            "busy": statistics.median(busy[name]),
        }
        for name, each in times.items()
    }


def _numbered(folder: Path) -> Iterator[Path]:
    number = 0
    while True:
        yield folder / f"store-{number}"
        number += 1


def _others() -> float:
    """Seconds of processor that everybody else has had since the machine was started."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    total = sum(fields) - fields[3] - fields[4]  # without idle, and waiting for disks
    return (total - _own_ticks()) / ticks


def _own_ticks() -> int:
    """Ticks of this process and its children, which live on."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if os.getpid() in (int(path.parent.name), int(fields[1])):
            found += int(fields[11]) + int(fields[12])
    return found


if __name__ == "__main__":
    main()
