"""The power goes at a random moment: what no sync had made durable is gone, names and bytes alike.

Durable is what a local file system promises: the bytes of a file at its last sync, with its name if the file is new; the
names in a folder (renames and removals, too) at the last sync of the folder; and everything that was there before.
"""

import itertools
import json
import os
import random
import shutil
import stat
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.errors import CorruptError
from tests.faults.lab import Lab
from tests.faults.project import STAGES
from tests.faults.row import Row, Trial, differences
from tests.faults.rows.kills import COUNTED

FULL, QUICK = 13, 1  # of each stage; and one after its end
_GONE = 9


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Moments in each stage."""
    for stage in STAGES:
        yield Trial(f"{stage}, after its end", partial(attempt, stage=stage, moment=None))
        for number in range(QUICK if quick else FULL):
            yield Trial(f"{stage}, cut {number}", partial(attempt, stage=stage, moment=draw.random()))


def attempt(lab: Lab, stage: str, moment: float | None) -> list[str]:
    """Let the power go, look at what is durable, and run the stage again."""
    records = _run(lab, stage, None if moment is None else 1 + int(moment * _syncs(lab, stage)))
    try:
        committed = _power_cut(lab, stage, records)
    except CorruptError as error:
        return [f"lost: {error.message}"]
    if moment is None:
        found = lab.results(stage)  # What was removed last may be back, for the next run to remove.
        lost = [name for name, content in lab.reference[stage].items() if found.get(name) != content]
        return [f"lost after its end: {', '.join(lost[:3])}"] if lost else []
    outcome = lab.run(stage)
    if outcome.status:
        return [f"differing rerun: exit code {outcome.status}: {outcome.output[-300:]}"]
    problems = differences(lab, stage)
    made = sum(int(done) for done, _ in _counted(outcome.output))
    allowed = sum(int(of) for _, of in _counted(outcome.output)) - committed
    return problems + ([f"computed again: {made - allowed} parts"] if committed and made > allowed else [])


_known: dict[str, int] = {}


def _syncs(lab: Lab, stage: str) -> int:
    """How many syncs the stage makes, in this lane."""
    if stage not in _known:
        _known[stage] = len(_run(lab, stage, None))
    return _known[stage]


def _counted(output: str) -> list[tuple[str, str]]:
    return COUNTED.findall(output)


def _run(lab: Lab, stage: str, last: int | None) -> list[list[object]]:
    """Run the stage until its sync number `last`, or to its end; every sync that it made."""
    lab.restore(stage)
    shadow = lab.trial.with_name(f"{lab.trial.name}.synced")
    shutil.rmtree(shadow, ignore_errors=True)
    shadow.mkdir()
    lab.start(stage, around=partial(_watch, shadow, last)).wait()
    log = shadow / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _watch(shadow: Path, last: int | None) -> None:
    """From now on every sync of this process is written down, with what it made durable."""
    real, numbers = os.fsync, itertools.count(1)
    held: list[int] = []
    log = open(shadow / "log", "a", buffering=1)  # noqa: SIM115
    one_at_a_time = threading.Lock()  # Stages write from several threads; a copy and its line belong together.

    def fsync(descriptor: int) -> None:
        with one_at_a_time:
            real(descriptor)
            number = next(numbers)
            path, status = os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                names = {one.name: one.inode() for one in os.scandir(path) if one.is_file(follow_symlinks=False)}
                log.write(json.dumps(["folder", path, names]) + "\n")
            else:
                held.append(os.open(path, os.O_RDONLY))  # so that its inode is not given to another file
                shutil.copyfile(path, shadow / str(number))
                log.write(json.dumps(["file", path, status.st_ino, number]) + "\n")
            if number == last:
                os._exit(_GONE)

    os.fsync = fsync


def _power_cut(lab: Lab, stage: str, records: list[list[object]]) -> int:
    """Leave in the trial folder what is durable; how many parts were committed by then."""
    before, shadow = lab.folder / "before" / stage, lab.trial.with_name(f"{lab.trial.name}.synced")
    first = {path: path.relative_to(before) for path in before.rglob("*") if path.is_file()}
    folders: dict[Path, dict[str, Path | None]] = {}
    for source, name in first.items():
        folders.setdefault(name.parent, {})[name.name] = source
    # Where the files of the start lie now is known by their inodes, as long as nobody replaced them.
    known: dict[int, Path | None] = {}
    for source, name in first.items():
        if (lab.trial / name).is_file():
            known[(lab.trial / name).stat().st_ino] = source
    for kind, path, *rest in records:
        name = Path(str(path)).relative_to(lab.trial)
        if kind == "file":
            known[rest[0]] = shadow / str(rest[1])  # type: ignore[index]
            folders.setdefault(name.parent, {})[name.name] = known[rest[0]]  # type: ignore[index]
        else:
            names: dict[str, int] = rest[0]  # type: ignore[assignment]
            folders[name] = {one: known.get(inode) for one, inode in names.items()}
    shutil.rmtree(lab.trial)
    for folder in before.rglob("*"):
        if folder.is_dir():
            (lab.trial / folder.relative_to(before)).mkdir(parents=True, exist_ok=True)
    for place, content in folders.items():
        (lab.trial / place).mkdir(parents=True, exist_ok=True)
        for name, kept in content.items():
            if kept:
                shutil.copyfile(kept, lab.trial / place / name)
            else:
                (lab.trial / place / name).touch()  # A name, but none of its bytes.
    return _committed(lab, stage)


def _committed(lab: Lab, stage: str) -> int:
    from pipeline.store import load_manifest
    from pipeline.store.manifest import MANIFEST_NAME
    from pipeline.store.parts.journal import JOURNAL_NAME

    root = lab.trial / STAGES[stage][1]
    folders = {path.parent for name in (MANIFEST_NAME, JOURNAL_NAME) for path in root.rglob(name)}
    return sum(len(load_manifest(folder).parts) for folder in folders)


def broken() -> None:
    """A part is committed before its bytes are durable."""
    import pipeline.files.atomic as atomic

    atomic.sync_file = lambda _: None


ROW = Row(
    "power gone, unsynced writes dropped",
    ("differing rerun", "lost", "lost after its end", "computed again"),
    trials,
    broken,
)
