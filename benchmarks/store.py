"""How fast a store of vectors is written and scanned: ours against other Parquet layouts and NumPy files.

    python benchmarks/store.py                                200,000 x 512 float32, 5 turns
    python benchmarks/store.py --rows 20000 --json result.json

All formats hold the same vectors, two of them in float16 (GB/s count float32 all the same), are written to one folder and read in turns, through the page cache: what is
measured is the format, not the disk. A scan ends when every value was summed, so that a memory map has to read too.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # also runs on a machine where the package is not installed

from pipeline.store import Rows, read_rows, write_rows  # noqa: E402

COLUMN = "embedding"
REFERENCE = "np.load"
PLAIN = {"compression": "NONE", "use_dictionary": False, "write_statistics": False, "row_group_size": 65_536}


@dataclass(frozen=True)
class Format:
    """One way of storing [N, D] float32."""

    name: str
    write: Callable[[Path, np.ndarray], None]
    read: Callable[[Path, int], np.ndarray]


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write, such as a disk to be tried (default: temporary)")
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    matrix = np.random.default_rng(0).standard_normal((options.rows, options.dimension), dtype=np.float32)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = measure(matrix, Path(folder), options.repeats)
    show(matrix, rows)
    if options.json:
        result = {"machine": machine(), "rows": options.rows, "dimension": options.dimension, "formats": rows}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def write_ours(path: Path, matrix: np.ndarray) -> None:
    """`pipeline.store.write_rows`."""
    write_rows(path, Rows([f"{row:08d}" for row in range(len(matrix))], {COLUMN: matrix}, {}), {})


def read_ours(path: Path, width: int) -> np.ndarray:
    """`pipeline.store.read_rows`: keys, vectors, page checksums verified."""
    return read_rows(path).vectors[COLUMN]


def write_binary(path: Path, matrix: np.ndarray, checksum: bool) -> None:
    """Fixed-size binary, with keys as ours has them."""
    kind = pa.binary(matrix.shape[1] * 4)
    column = pa.FixedSizeBinaryArray.from_buffers(kind, len(matrix), [None, pa.py_buffer(matrix)])
    schema = pa.schema([pa.field(COLUMN, kind, nullable=False)])
    pq.write_table(pa.Table.from_arrays([column], schema=schema), path, write_page_checksum=checksum, **PLAIN)


def read_binary(path: Path, width: int, checksum: bool) -> np.ndarray:
    """One chunk per row group, joined."""
    table = pq.read_table(path, page_checksum_verification=checksum, partitioning=None)
    chunks = table.column(COLUMN).chunks
    return np.concatenate([np.frombuffer(chunk.buffers()[1], "<f4").reshape(-1, width) for chunk in chunks])


def write_list(path: Path, matrix: np.ndarray, fixed: bool) -> None:
    """The natural choice: a list column."""
    values = pa.array(matrix.reshape(-1))
    if fixed:
        column = pa.FixedSizeListArray.from_arrays(values, matrix.shape[1])
    else:
        offsets = np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32)
        column = pa.ListArray.from_arrays(pa.array(offsets), values)
    pq.write_table(pa.table({COLUMN: column}), path, **PLAIN)


def read_list(path: Path, width: int) -> np.ndarray:
    """Flattened back to a matrix."""
    column = pq.read_table(path, partitioning=None).column(COLUMN)
    return np.concatenate(
        [chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, width) for chunk in column.chunks]
    )


def read_halves(path: Path, width: int) -> np.ndarray:
    """As float32, which ours are read as, converted as one does it."""
    return read_list(path, width).astype(np.float32)


def formats() -> list[Format]:
    """What is compared; the first is ours, the last two are NumPy's."""
    return [
        Format("ours: binary, page CRC, keys", write_ours, read_ours),
        Format(
            "binary, page CRC", lambda path, m: write_binary(path, m, True), lambda path, w: read_binary(path, w, True)
        ),
        Format("binary", lambda path, m: write_binary(path, m, False), lambda path, w: read_binary(path, w, False)),
        Format("FixedSizeList", lambda path, m: write_list(path, m, True), read_list),
        Format("List", lambda path, m: write_list(path, m, False), read_list),
        Format("ours: float16", lambda path, m: write_ours(path, m.astype(np.float16)), read_ours),
        Format("FixedSizeList of float16", lambda path, m: write_list(path, m.astype(np.float16), True), read_halves),
        Format(REFERENCE, lambda path, m: save(path, m), lambda path, _: np.load(path)),
        Format("np.load, memory map", lambda path, m: save(path, m), lambda path, _: np.load(path, mmap_mode="r")),
    ]


def save(path: Path, matrix: np.ndarray) -> None:
    """`np.save` under exactly this name."""
    with open(path, "wb") as file:
        np.save(file, matrix)


def measure(matrix: np.ndarray, folder: Path, repeats: int) -> list[dict[str, object]]:
    """One row per format; formats take turns."""
    expected = matrix.sum(dtype=np.float64)
    write: dict[str, list[float]] = {}
    scan: dict[str, list[float]] = {}
    for turn in range(repeats + 1):
        for number, kind in enumerate(formats()):
            path = folder / f"{number}.bin"
            started = time.perf_counter()
            kind.write(path, matrix)
            written = time.perf_counter()
            found = kind.read(path, matrix.shape[1])
            total = float(found.sum())
            done = time.perf_counter()
            if found.shape != matrix.shape or abs(total - expected) > 1.0 + 1e-5 * matrix.size:
                raise SystemExit(f"{kind.name} did not return what was written.")
            path.unlink()
            if turn:  # the first turn warms up
                write.setdefault(kind.name, []).append(written - started)
                scan.setdefault(kind.name, []).append(done - written)
    return [row(name, matrix.nbytes / 1e9, write[name], scan[name], scan[REFERENCE]) for name in scan]


def row(name: str, size: float, write: list[float], scan: list[float], reference: list[float]) -> dict[str, object]:
    """The summary of one format, in GB/s of vectors."""
    return {
        "name": name,
        "write_median": size / statistics.median(write),
        "write_best": size / min(write),
        "scan_median": size / statistics.median(scan),
        "scan_best": size / min(scan),
        "scan_of_np_load": statistics.median(peer / own for own, peer in zip(scan, reference, strict=True)),
    }


def show(matrix: np.ndarray, rows: list[dict[str, object]]) -> None:
    """Print the table."""
    print(f"{matrix.shape[0]:,} x {matrix.shape[1]} float32, {matrix.nbytes / 1e9:.2f} GB; GB/s")
    print(f"{'':32}{'write':>8}{'best':>8}{'scan':>8}{'best':>8}{'x np.load':>11}")
    for entry in rows:
        print(
            f"{entry['name']:32}{entry['write_median']:8.2f}{entry['write_best']:8.2f}"
            f"{entry['scan_median']:8.2f}{entry['scan_best']:8.2f}{entry['scan_of_np_load']:11.2f}"
        )


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return {
        "device": next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), ""),
        "cores": os.cpu_count(),
        "pyarrow": pa.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "commit": git.stdout.strip() or "unknown",
    }


if __name__ == "__main__":
    main()
