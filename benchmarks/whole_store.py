"""How fast a stage reads a whole store into one array: ten parts, each hashed, its checksums and norms verified.

    python benchmarks/whole_store.py                              200,000 x 512 float32, 5 turns
    python benchmarks/whole_store.py --rows 20000 --json result.json

The peers hold the same vectors in as many files and check nothing. Files are in the page cache, and taking turns. Every turn of ours
hashes its files anew, as a process does that reads them for the first time.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))  # also runs on a machine where the package is not installed

from pipeline.allocator import keep_freed_memory
from pipeline.store import EMBEDDINGS, PartFolder, Rows, Store, write_rows

PARTS = 10
COLUMN = "embedding"


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result here")
    given = parser.parse_args()
    keep_freed_memory()  # as a stage does; the peers gain as much
    matrix = np.random.default_rng(0).standard_normal((given.rows, given.dimension), dtype=np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        ways = written(Path(folder), matrix)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(given.repeats + 1):
            for name, read in ways.items():
                start = time.perf_counter()
                found = read()
                total = float(found.sum(dtype=np.float64))
                seconds = time.perf_counter() - start
                if found.shape != matrix.shape or not np.isclose(total, matrix.sum(dtype=np.float64)):
                    raise SystemExit(f"{name} did not return what was written.")
                del found
                if turn:
                    rates[name].append(matrix.nbytes / 1e9 / seconds)
    found = {name: statistics.median(each) for name, each in rates.items()}
    for name, rate in found.items():
        print(f"{name:40}{rate:8.2f} GB/s")
    if given.json:
        given.json.write_text(json.dumps({"parts": PARTS, "rows": given.rows, "rates": found}, indent=1) + "\n")


def written(folder: Path, matrix: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """`matrix` [N, D] in each of the formats, and what reads it."""
    parts = np.array_split(matrix, PARTS)
    store = PartFolder(folder / "store", EMBEDDINGS, {"space": "s", "dimension": matrix.shape[1]})
    (folder / "lists").mkdir()
    for number, part in enumerate(parts):
        rows = Rows([f"{number}-{row:08d}" for row in range(len(part))], {COLUMN: part}, {})
        store.commit(f"part-{number}.parquet", "", rows.keys, (), lambda path, rows=rows: write_rows(path, rows, {}))
        np.save(folder / f"{number}.npy", part)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), matrix.shape[1])
        pq.write_table(pa.table({COLUMN: lists}), folder / f"lists/{number}.parquet", compression="NONE")
    store.finish(0.0)

    def ours() -> np.ndarray:
        for path in (folder / "store").glob("*.parquet"):
            os.utime(path)  # it looks changed, and is hashed again
        return Store.open(folder / "store").read().vectors[COLUMN]

    def lists() -> np.ndarray:
        column = pq.read_table(folder / "lists").column(COLUMN)
        return np.concatenate([chunk.flatten().to_numpy().reshape(-1, matrix.shape[1]) for chunk in column.chunks])

    def arrays() -> np.ndarray:
        return np.concatenate([np.load(folder / f"{number}.npy") for number in range(PARTS)])

    return {"ours": ours, "list columns": lists, "np.load": arrays}


if __name__ == "__main__":
    main()
