"""What `mcr shard` needs for a corpus of millions of samples, apart from reading them: time, and the most memory it holds.

    python benchmarks/scale/many_samples.py                                  2 and 20 million samples: ten minutes, 8 GB of disk
    python benchmarks/scale/many_samples.py --samples 200000 --folder /data --json result.json

The samples are what a reader of WebDataset tars would give: each a picture and its caption by tar, offset and size, the keys
in an order that has nothing to do with theirs, one in a thousand twice, one in a hundred a copy of another. `planning` adds them, sorts them
by key and cuts them into shards; `going through` reads the samples of every shard as the making of it would; `tables` takes
the hashes of all members and writes what `_contents.parquet` and `_duplicates.parquet` hold. Each size is a process of its own.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pipeline.hashing import sha256_bytes  # noqa: E402
from pipeline.shard.catalogue import Catalogue  # noqa: E402
from pipeline.shard.duplicates import write_duplicates  # noqa: E402
from pipeline.shard.findings import Findings  # noqa: E402
from pipeline.shard.samples import Checked  # noqa: E402
from pipeline.shard.sources.sample import RawMember, RawSample  # noqa: E402
from pipeline.store.content.hashes import write_contents  # noqa: E402
from pipeline.store.scratch import scratch_database  # noqa: E402

SIZES = (2_000_000, 20_000_000)
SAMPLES_PER_TAR = 10_000
# Has no factor in common with the sizes: the keys come in an order of their own.
STRIDE = 7_654_321


@dataclass(frozen=True)
class NoTars:
    """Stands for the tars, of which planning reads nothing."""

    def read(self, place: object, limit: int) -> bytes:
        """Nothing."""
        raise OSError(f"{place} is not there")

    def origin(self, place: object) -> str:
        """The place itself."""
        return str(place)


def samples(count: int) -> Iterator[RawSample]:
    """`count` samples in the order of their tars; every thousandth comes again at once."""
    tars = NoTars()
    for number in range(count):
        tar, row = divmod(number, SAMPLES_PER_TAR)
        members = {
            "image": RawMember("jpg", tars, (tar, row * 41_984 + 512, 41_000)),
            "text": RawMember("txt", tars, (tar, row * 41_984 + 41_512, 60)),
        }
        sample = RawSample(f"{number * STRIDE % count:012d}", members)
        yield sample
        if number % 1000 == 0:
            yield sample


def checked(key: str) -> Checked:
    """What reading a sample would tell; of every hundredth, the bytes of the one before it."""
    number = int(key)
    content = number - (number % 100 == 99)
    return Checked(key, [[ending, sha256_bytes(f"{ending} {content}".encode())] for ending in ("jpg", "txt")], [])


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Seconds of each step, and the most memory in MB that the process held up to its end."""
    found: dict[str, Any] = {"samples": count, "before_mb": peak()}

    def done(step: str, began: float) -> None:
        found[step] = {"seconds": round(time.perf_counter() - began, 2), "peak_mb": peak()}

    with scratch_database(folder) as database:
        began = time.perf_counter()
        catalogue = Catalogue(database)
        for sample in samples(count):
            catalogue.add(sample)
        catalogue.sort()
        assert catalogue.repeated()
        shards = catalogue.cut(2048)
        assert sum(size for _, size in shards) == count
        done("planning", began)
        began = time.perf_counter()
        assert sum(1 for name, _ in shards for _ in catalogue.read(name)) == count
        done("going through", began)
    with scratch_database(folder) as database:
        began = time.perf_counter()
        findings = Findings(database, "found")
        for first in range(0, count, 2048):
            keys = (f"{number:012d}" for number in range(first, min(first + 2048, count)))
            findings.add(f"{first // 2048:08d}.tar", map(checked, keys))
        copies = findings.copies()
        assert len(copies) == count // 100
        write_contents(folder / "contents.parquet", findings.members())
        write_duplicates(folder / "duplicates.parquet", copies)
        done("tables", began)
    return found


def peak() -> int:
    """The most memory that this process held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="*", default=SIZES)
    parser.add_argument("--folder", type=Path, help="a disk with room for 400 bytes a sample (default: temporary)")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.folder)))
        return
    rows = []
    for count in given.samples:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            command = [sys.executable, __file__, "--one", str(count), "--folder", folder]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        for step in ("planning", "going through", "tables"):
            seconds = row[step]["seconds"]
            print(
                f"{count:>12,} {step:<14} {seconds:8.1f} s  {1e6 * seconds / count:6.2f} us a sample  {row[step]['peak_mb']} MB"
            )
        rows.append(row)
    if given.json:
        machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        given.json.write_text(json.dumps({"machine": machine, "commit": commit, "sizes": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
