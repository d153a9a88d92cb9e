"""How fast the exact aggregation is: against the matrix products in it, other exact ways, and a top-k search.

    python benchmarks/aggregate.py                                     2,048 x 100,000 and 23,000 x 20,000, 512 wide
    python benchmarks/aggregate.py --queries 4096 --memory 50000 --dimension 256 --device cpu --repeats 3
    python benchmarks/aggregate.py --device cuda --dtype float16 --json result.json

Everything runs in one process, in turns, so that a busy machine disturbs all rows alike; ratios are medians of the
ratios within a turn. Errors are against the definition in float64, on the first queries. The chunked softmax takes as many
queries at a time as this device does fastest. The rate of a matrix product is measured in every turn too. A CPU with instructions for bfloat16 also aggregates the same rows in bf16. Needs torch and numpy; FAISS is measured
where it is installed. GFLOP/s count the two products, 4 x queries x memory x width, for every row but FAISS's.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # also runs on a machine where the package is not installed

from pipeline.precision import may_round  # noqa: E402
from pipeline.retrieve.memory.aggregate import aggregate  # noqa: E402

SHAPES = [(2048, 100_000), (23_000, 20_000)]
TEMPERATURE = 0.01
TOP_K = 128
# A naive softmax holds all scores; above this it is not tried.
NAIVE_BYTES = 3 * 2**30
CHUNKS = {"cpu": (64, 256, 1024), "cuda": (512, 2048, 8192)}
CHUNK_BYTES = 8 * 2**30
# Queries on which errors are taken: the definition in float64 is slow, and no query is like another.
CHECKED = 256
GEMM_SIZE = {"cpu": 2048, "cuda": 8192}
OURS, SHORT, SDPA, CHUNKED, GEMM = (
    "ours",
    "ours in bf16",
    "torch SDPA",
    "torch, queries in chunks",
    "matrix product alone",
)
Row = dict[str, object]


def main() -> None:
    """Measure, print a table for each shape, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, help="with --memory: one shape instead of the two standard ones")
    parser.add_argument("--memory", type=int)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    if (options.queries is None) != (options.memory is None):
        parser.error("--queries and --memory come together")
    torch.set_num_threads(options.threads)
    shapes = [(options.queries, options.memory)] if options.queries else SHAPES
    result = {"machine": machine(options), "repeats": options.repeats, "shapes": []}
    for queries, memory in shapes:
        rows = measure(queries, memory, options)
        show(queries, memory, options, rows)
        result["shapes"].append({"queries": queries, "memory": memory, "dimension": options.dimension, "rows": rows})
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def measure(queries: int, memory: int, options: argparse.Namespace) -> list[Row]:
    """One row per way of aggregating, in turns; every way is checked against float64 first."""
    generator = torch.Generator(options.device).manual_seed(0)
    dtype = getattr(torch, options.dtype)

    def draw(rows: int) -> Tensor:
        drawn = torch.randn(rows, options.dimension, generator=generator, device=options.device)
        return normalize(drawn, dim=1).to(dtype)

    query_rows, keys = draw(queries), draw(memory)
    ways = contenders(query_rows, keys, options)
    for name in getattr(options, "without", ()):
        del ways[name]
    reference = softmax_average(query_rows[:CHECKED].double(), keys.double())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    errors: dict[str, float | None] = {}
    for name, way in ways.items():
        out = timed(way, options.device)[1]  # warms up, and checks
        exact = out is not None and name != GEMM and not name.startswith("FAISS")
        errors[name] = float((out[:CHECKED].double() - reference).abs().max()) if exact else None
    for _ in range(options.repeats):
        for name, way in ways.items():
            seconds[name].append(timed(way, options.device)[0])
    size = gemm_size(options.device)
    work = {name: 2.0 * size**3 if name == GEMM else 4.0 * queries * memory * options.dimension for name in ways}
    rates = {name: [work[name] / second / 1e9 for second in taken] for name, taken in seconds.items()}
    return [row(name, seconds, rates, errors[name]) for name in ways]


def contenders(queries: Tensor, keys: Tensor, options: argparse.Namespace) -> dict[str, Callable[[], Tensor | None]]:
    """The ways to aggregate, by name."""
    ways: dict[str, Callable[[], Tensor | None]] = {
        OURS: lambda: aggregate(queries, keys, (keys,), TEMPERATURE).vectors[0],
        SDPA: lambda: scaled_dot_product_attention(
            queries[None, None], keys[None, None], keys[None, None], scale=1 / TEMPERATURE
        )[0, 0],
    }
    if keys.dtype == torch.float32 and may_round(keys.device, torch.bfloat16):
        short_queries, short_keys = queries.bfloat16(), keys.bfloat16()
        ways[SHORT] = lambda: aggregate(short_queries, short_keys, (short_keys,), TEMPERATURE).vectors[0]
    chunk = fastest_chunk(queries, keys, options.device)
    ways[CHUNKED] = lambda: torch.cat([softmax_average(few, keys) for few in queries.split(chunk)])
    if 2 * len(queries) * len(keys) * queries.element_size() <= NAIVE_BYTES:
        ways["torch, materialised"] = lambda: softmax_average(queries, keys)
    search = faiss_search(queries, keys, options)
    if search:
        ways[f"FAISS flat, top {TOP_K} + softmax"] = search
    square = torch.randn(gemm_size(options.device), gemm_size(options.device), device=options.device, dtype=keys.dtype)
    ways[GEMM] = lambda: torch.mm(square, square)
    return ways


def fastest_chunk(queries: Tensor, keys: Tensor, device: str) -> int:
    """How many queries at a time a plain softmax over all of `keys` averages fastest, of those whose scores fit."""
    rates: dict[int, float] = {}
    for size in CHUNKS[torch.device(device).type]:
        few = queries[:size]
        if not rates or 3 * len(few) * len(keys) * few.element_size() <= CHUNK_BYTES:
            rates[size] = len(few) / min(timed(lambda few=few: softmax_average(few, keys), device)[0] for _ in range(2))
    return max(rates, key=rates.__getitem__)


def gemm_size(device: str) -> int:
    """Side of the square product whose rate is the limit."""
    return GEMM_SIZE[torch.device(device).type]


def softmax_average(queries: Tensor, keys: Tensor) -> Tensor:
    """The definition."""
    return torch.softmax(queries @ keys.T / TEMPERATURE, 1) @ keys


def faiss_search(queries: Tensor, keys: Tensor, options: argparse.Namespace) -> Callable[[], Tensor] | None:
    """Top-k by FAISS and an average over what it finds; None where it is not installed or the device is a GPU."""
    if queries.is_cuda or keys.dtype != torch.float32:
        return None
    try:
        import faiss
    except ImportError:
        return None
    faiss.omp_set_num_threads(options.threads)
    index = faiss.IndexFlatIP(keys.shape[1])
    index.add(keys.numpy())

    def search() -> Tensor:
        scores, rows = (torch.from_numpy(found) for found in index.search(queries.numpy(), min(TOP_K, len(keys))))
        weights = torch.softmax(scores / TEMPERATURE, 1)
        return torch.nn.functional.embedding_bag(rows, keys, per_sample_weights=weights, mode="sum")

    return search


def timed(way: Callable[[], Tensor | None], device: str) -> tuple[float, Tensor | None]:
    """Seconds that `way` takes, and what it returns."""
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    out = way()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started, out


def row(name: str, seconds: dict[str, list[float]], rates: dict[str, list[float]], error: float | None) -> Row:
    """The summary of one way."""
    against = {GEMM: "of_gemm"} | ({SDPA: "of_sdpa"} if SDPA in rates else {})
    ratios = {
        label: statistics.median(own / peer for own, peer in zip(rates[name], rates[other], strict=True))
        for other, label in against.items()
    }
    return {
        "name": name,
        "median_seconds": statistics.median(seconds[name]),
        "min_seconds": min(seconds[name]),
        "gflops_median": statistics.median(rates[name]),
        "gflops_best": max(rates[name]),
        **ratios,
        "best_of_gemm": max(rates[name]) / max(rates[GEMM]),
        **({"best_of_sdpa": max(rates[name]) / max(rates[SDPA])} if SDPA in rates else {}),
        "error": error,
    }


def show(queries: int, memory: int, options: argparse.Namespace, rows: list[Row]) -> None:
    """Print one table."""
    print(f"\n{queries:,} queries x {memory:,} rows x {options.dimension}, {options.dtype} on {options.device}")
    head = f"{'':32}{'median s':>10}{'min s':>9}{'GFLOP/s':>10}{'x GEMM':>9}{'x SDPA':>9}{'best x GEMM':>13}{'best x SDPA':>13}"
    print(f"{head}{'error':>12}")
    for entry in rows:
        error = entry["error"]
        print(
            f"{entry['name']:32}{entry['median_seconds']:10.3f}{entry['min_seconds']:9.3f}{entry['gflops_median']:10.0f}"
            f"{entry['of_gemm']:9.2f}{entry['of_sdpa']:9.2f}{entry['best_of_gemm']:13.2f}{entry['best_of_sdpa']:13.2f}"
            f"{'' if error is None else f'{error:.1e}':>12}"
        )


def machine(options: argparse.Namespace) -> dict[str, object]:
    """What the figures were measured on."""
    cuda = torch.device(options.device).type == "cuda"
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "device": torch.cuda.get_device_name(options.device) if cuda else processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "dtype": options.dtype,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": git.stdout.strip() or "unknown",
    }


def processor() -> str:
    """Name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
