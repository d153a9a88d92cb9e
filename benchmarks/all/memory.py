"""The most memory that a command holds with ten times the data: ``python -m benchmarks.all.memory --json FILE``.

Each size runs in a process of its own, whose libraries count as well: what has to stay the same is what a machine needs.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.all.growth import encode, shard

PARTS: dict[str, Callable[[int, Path], Callable[[], object]]] = {"shard": shard, "encode": encode}
FEW, MANY = 2, 20


def main() -> None:
    """The peak of each part at either size, in MB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--size", type=int, default=1)
    given = parser.parse_args()
    if given.part:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[given.part](given.size, Path(folder) / "one")()
        given.json.write_text(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
        return
    found = {part: {str(size): peak(part, size) for size in (FEW, MANY)} for part in PARTS}
    given.json.write_text(json.dumps(found, indent=1) + "\n")


def peak(part: str, size: int) -> float:
    """The most memory of one part at one size, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peak.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.all.memory",
            "--part",
            part,
            "--size",
            str(size),
            "--json",
            str(path),
        ]
        subprocess.run(command, check=True, capture_output=True)
        return float(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
