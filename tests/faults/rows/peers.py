"""The same damage where others read: how often webdataset, NumPy, safetensors and Parquet's defaults say nothing of it.

For comparison only: nothing here is ours, and nothing has to be 0.
"""

import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from tests.faults.rows.mutants import digest, mutated


def _tar() -> bytes:
    buffer = io.BytesIO()
    draw = np.random.default_rng(0)
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for number in range(8):
            for end in ("png", "txt"):
                info = tarfile.TarInfo(f"{number:05d}.{end}")
                info.size = 300
                archive.addfile(info, io.BytesIO(draw.bytes(300)))
    return buffer.getvalue()


def _webdataset(content: bytes, folder: Path) -> object:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    source = [{"url": "a.tar", "stream": io.BytesIO(content)}]
    samples = list(group_by_keys(tar_file_expander(source)))
    return [{name: value for name, value in sample.items() if name != "__url__"} for sample in samples]


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


_ROWS = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
_TABLE = pa.table(
    {"key": [str(n) for n in range(64)], "embedding": pa.array([row.tobytes() for row in _ROWS], pa.binary(128))}
)
PEERS: dict[str, tuple[bytes, Callable[[bytes, Path], object]]] = {
    "webdataset": (_tar(), _webdataset),
    "NumPy npy": (_written(lambda file: np.save(file, _ROWS)), lambda content, _: np.load(io.BytesIO(content), allow_pickle=False)),
    "safetensors": (safetensors.numpy.save({"rows": _ROWS}), lambda content, _: safetensors.numpy.load(content)),
    "Parquet by default": (
        _written(lambda file: pq.write_table(_TABLE, file, compression="NONE", use_dictionary=False)),
        lambda content, _: pq.read_table(io.BytesIO(content)).to_pydict(),
    ),
}  # fmt: skip


def peers(seed: int, count: int, folder: Path) -> dict[str, dict[str, int]]:
    """By reader: of `count` mutants, how many raised an error, how many read the same, how many read something else."""
    found = {}
    for name, (content, read) in PEERS.items():
        draw, whole = random.Random(f"{seed} {name}"), digest(read(content, folder))
        counts = {"error": 0, "same": 0, "silent": 0}
        for _ in range(count):
            try:
                counts["same" if digest(read(mutated(content, draw), folder)) == whole else "silent"] += 1
            except Exception:
                counts["error"] += 1
        found[name] = counts
    return json.loads(json.dumps(found))
