"""What checking costs: the time that each stage of the demo spends on seeing that what it reads is what was written.

    python benchmarks/checks.py --share 0.5 --json benchmarks/results/checks.json

Time is that of the processors (children included), so that another load on the machine changes little; a stage's own time
begins when Python and its libraries are there. `files` are hashes of whole files, `pages` the checksums of Parquet pages,
`rows` the norms of all vectors. `leaks` is the comparison of corpora with evaluation sets, for which every sample is decoded
once more before the first training.
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
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

FILES, PAGES, ROWS, LEAKS = "files", "pages", "rows", "leaks"


def stages(params: dict[str, Any]) -> list[list[str]]:
    """The commands of the pipeline in an order that works, without those that need no check."""
    return [
        *(["shard", corpus] for corpus in params["corpora"]),
        *(["encode", "--space", space] for space in params["spaces"]),
        *(["retrieve", name] for name in params["connections"]),
        *(["train", name] for name in params["connections"]),
        ["evaluate"],
        ["report"],
    ]


def spent() -> float:
    """Processor seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def counted(kind: str, real: Callable[..., Any], clock: Callable[[], float], seconds: Counter[str]) -> Any:
    """`real`, whose time is added to that of `kind`."""

    def call(*arguments: Any, **options: Any) -> Any:
        began = clock()
        try:
            return real(*arguments, **options)
        finally:
            seconds[kind] += clock() - began

    return call


def measure(arguments: list[str]) -> None:
    """Run one stage here, and print its seconds as a line of JSON."""
    import pyarrow.parquet as pq

    for name in ("encode.prepare", "evaluate.run", "leaks.likeness", "report.write", "retrieve.pseudo_pairs", "shard.build",
                 "train.run"):  # fmt: skip
        import_module(f"pipeline.{name}")  # with its libraries, before the clock runs
    from pipeline.encode import listing, prepare
    from pipeline.store import parquet, reader
    from pipeline.store.integrity import check, made_from
    from stages import leaks
    from stages.cli import run

    seconds: Counter[str] = Counter()
    twice = [0.0]

    def read_twice(read: Callable[[Path, list[str] | None], Any]) -> Callable[[Path, list[str] | None], Any]:
        def call(path: Path, columns: list[str] | None) -> Any:
            found = read(path, columns)
            times = []
            for verified in (True, False):
                began = time.process_time()
                with pq.ParquetFile(path, page_checksum_verification=verified) as file:
                    file.read(columns=columns)
                times.append(time.process_time() - began)
            twice[0] += sum(times)
            seconds[PAGES] += max(times[0] - times[1], 0.0)
            return found

        return call

    parquet._read_table, parquet._read_rows = read_twice(parquet._read_table), read_twice(parquet._read_rows)
    check.sha256_once = counted(FILES, check.sha256_once, time.thread_time, seconds)
    made_from.sha256_once = counted(FILES, made_from.sha256_once, time.thread_time, seconds)
    listing.sha256_once = counted(FILES, listing.sha256_once, time.thread_time, seconds)
    # Shards are hashed by a process of their own, whose clock is not read here.
    listed = prepare.lister_of
    prepare.lister_of = lambda folder, modality, apart, stack: listed(folder, modality, False, stack)
    reader.check_vectors = counted(ROWS, reader.check_vectors, time.thread_time, seconds)
    leaks._compare = counted(LEAKS, leaks._compare, spent, seconds)
    start, sys.argv = spent(), ["mcr", *arguments]
    try:
        run()
    except SystemExit as end:
        if end.code:
            raise
    print(json.dumps({"start": start, "stage": spent() - start - twice[0], **seconds}))


def stage_seconds(folder: Path, arguments: list[str]) -> dict[str, float]:
    """Seconds of one stage in the project `folder`, by what they were spent on."""
    done = subprocess.run(
        [sys.executable, __file__, "stage", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def make_project(folder: Path, share: float) -> list[list[str]]:
    """The demo with `share` of its samples, ready to be sharded; its stages."""
    import yaml

    from tests.makers.project import Project

    project = Project(folder)

    def smaller(params: dict[str, Any]) -> None:
        params["sizes"] = {name: max(int(size * share), 80) for name, size in params["sizes"].items()}
        for space in params["pretrain"].values():
            space.update(scenes=1024, epochs=1, batch=128)

    project.edit("data/demo/params.yaml", smaller)
    for made in (["demo", "world"], *(["demo", "pretrain", space] for space in ("clip", "clap", "ulip"))):
        project.run("mcr", *made)
    return stages(yaml.safe_load((folder / "params.yaml").read_text()))


def main() -> None:
    """Make the project, run its stages, print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.5, help="of the demo's samples")
    parser.add_argument("--json", type=Path, help="Write the results to this file.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "demo"
        commands = make_project(folder, arguments.share)
        found = {" ".join(command): stage_seconds(folder, command) for command in commands}
    summed: dict[str, Counter[str]] = {}
    for command, seconds in found.items():
        summed.setdefault(command.split()[0], Counter()).update(seconds)
    print(f"{'stage':10} {'start':>7} {'stage':>7}" + "".join(f"{kind:>16}" for kind in (FILES, PAGES, ROWS, LEAKS)))
    for stage, seconds in summed.items():
        parts = (
            f"{seconds[kind]:8.3f} {seconds[kind] / seconds['stage']:6.1%}" for kind in (FILES, PAGES, ROWS, LEAKS)
        )
        print(f"{stage:10} {seconds['start']:7.2f} {seconds['stage']:7.2f}" + "".join(f"{part:>16}" for part in parts))
    if arguments.json:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        result = {
            "commit": commit,
            "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
            "share": arguments.share,
            "seconds": {
                stage: {kind: round(value, 4) for kind, value in each.items()} for stage, each in found.items()
            },
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["stage"]:
        measure(sys.argv[2:])
    else:
        main()
