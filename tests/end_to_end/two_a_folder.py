"""All stages over a real project whose folders take two parts each; what goes wrong is printed as JSON, a line for each check.

`python -m tests.end_to_end.two_a_folder FOLDER KILLS`: with so many kills, and as many power cuts, of each stage that makes parts.
"""

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.store.parts import names
from tests.faults.lab import Lab, load_everything
from tests.faults.project import STAGES
from tests.faults.row import differences
from tests.faults.rows import kills, power

MAKING_PARTS = ("shard", "encode-clip", "encode-clap", "encode-ulip", "retrieve")


def in_one_folder(results: dict[str, bytes]) -> dict[str, bytes]:
    """`results` by where they would lie without subfolders; manifests and journals, which say where, left out."""
    found = {}
    for path, content in results.items():
        if not path.endswith(("_manifest.json", ".lock")):
            found[str(names.folder_of(Path(path)) / Path(path).name)] = content
    assert len(found) >= len(results) - sum(path.endswith("_manifest.json") for path in results)
    return found


def same_bytes(flat: Lab, two: Lab, stage: str) -> list[str]:
    """Files of a stage that depend on how many parts a folder takes."""
    one, other = in_one_folder(flat.reference[stage]), in_one_folder(two.reference[stage])
    return [f"other bytes: {name}" for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]


def few_in_each(two: Lab, stage: str) -> list[str]:
    """Folders of a stage that hold more than two parts, of those that would; something is wrong if there are none."""
    parts = [path for path in two.reference[stage] if path.endswith((".tar", ".parquet")) and "/_" not in path]
    counts = Counter(os.path.dirname(path) for path in parts)
    below = [path for path in parts if names.folder_of(Path(path)) != Path(path).parent]
    return [f"{count} parts in {folder}" for folder, count in counts.items() if count > 2] + ([] if below else ["flat"])


def nothing_to_do(lab: Lab, stage: str) -> list[str]:
    """What a stage makes that has run before, or changes."""
    outcome = lab.run(stage)
    made = [f"made {done} of {of}" for done, of in kills.COUNTED.findall(outcome.output) if int(done)]
    return made + differences(lab, stage) + ([outcome.output] if outcome.status else [])


def verified(lab: Lab) -> list[str]:
    """What `mcr verify` finds wrong with the whole project, in its lines."""
    outcome = lab.start("report", arguments=["verify"]).wait()
    sound = outcome.output.count("sound")
    return [] if not outcome.status and sound > 20 else [f"exit code {outcome.status}, {sound} sound: {outcome.output}"]


def checks(folder: Path, count: int) -> Iterator[tuple[str, list[str]]]:
    """Each check with its problems."""
    flat, two = Lab(folder / "flat"), Lab(folder / "two")
    flat.prepare()
    names.PER_FOLDER = 2  # which processes inherit that are forked from now on
    two.prepare()
    for stage in STAGES:
        yield f"{stage}: the same bytes", same_bytes(flat, two, stage)
    for stage in MAKING_PARTS:
        yield f"{stage}: two parts a folder", few_in_each(two, stage)
    for called, lab in (("in subfolders", two), ("of an earlier version", flat)):
        lab.restore("end")
        for stage in MAKING_PARTS:
            yield f"{stage}: a project {called} is reused", nothing_to_do(lab, stage)
        yield f"a project {called} is sound", verified(lab)
    draw = random.Random(0)
    for stage in MAKING_PARTS:
        for number in range(count):
            yield f"{stage}: kill {number}", kills.attempt(two, stage, random.Random(draw.random()))
            yield f"{stage}: power cut {number}", power.attempt(two, stage, draw.random())


def main() -> None:
    """Run the checks."""
    load_everything()
    for check, problems in checks(Path(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps({"check": check, "problems": problems}), flush=True)


if __name__ == "__main__":
    main()
