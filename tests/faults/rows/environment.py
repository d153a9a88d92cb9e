"""Small disks, little memory, other users, odd clocks, locales, umasks and paths, signals that a parent ignores.

As root in a namespace of its own mounts; what this machine does not permit is left out, and said.
"""

import ctypes
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.faults.lab import Break, Lab, Outcome
from tests.faults.project import STAGES
from tests.faults.row import Row, Trial, differences, rerun, said_clearly

NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
NOBODY = 65534
ROOT = Path(__file__).parents[3]
Try = Callable[[Lab, str, random.Random], list[str]]


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Every surrounding, in stages that are drawn."""
    for name, (attempt, count) in SURROUNDINGS.items():
        for number in range(1 if quick else count):
            stage = draw.choice(list(STAGES))
            run = partial(_run, attempt=attempt, stage=stage, seed=draw.random())
            yield Trial(f"{name}, {stage} {number}", run)


def _run(lab: Lab, attempt: Try, stage: str, seed: float) -> list[str]:
    lab.restore(stage)
    return attempt(lab, stage, random.Random(seed))


def well(lab: Lab, stage: str, around: Break | None = None) -> list[str]:
    """Problems of a stage that has to end well, with the same bytes."""
    outcome = lab.start(stage, around=around).wait()
    return said_clearly(outcome, (0,)) + wrong(lab, stage)


def wrong(lab: Lab, stage: str) -> list[str]:
    """Results that are not those of an undisturbed run."""
    return [problem.replace("differing rerun", "wrong") for problem in differences(lab, stage)]


def mounted(options: str, place: str) -> None:
    """A tmpfs over `place`, for this process and its children."""
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=True)


def small_disk(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """The folder of the stage is a disk that its results do not fit on; then they do."""
    whole = sum(map(len, lab.reference[stage].values()))
    output = lab.trial / STAGES[stage][1]
    output.mkdir(parents=True, exist_ok=True)
    size = max(int(whole * draw.uniform(0.1, 0.6)) >> 12, 2) << 12
    problems: list[str] = []

    def inside() -> None:
        """In a process of its own, since the disk goes with its mounts."""
        before = shutil.copytree(output, lab.trial / "before-disk")
        mounted(f"size={size}", str(output))
        shutil.copytree(before, output, dirs_exist_ok=True)
        shutil.rmtree(before)
        outcome = lab.run(stage)
        if outcome.status:
            problems.extend(said_clearly(outcome, (75,)))
        subprocess.run(["mount", "-o", "remount,size=64m", str(output)], check=True)
        problems.extend(rerun(lab, stage))

    return _apart(inside, problems)


def _apart(call: Break, problems: list[str]) -> list[str]:
    """Run `call` in a fork, and bring the problems back that it adds."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            call()
        except BaseException as error:
            problems.append(f"wrong: {type(error).__name__}: {error}")
        os.write(writer, "\0".join(problems).encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return [problem for problem in said.split("\0") if problem]


def little_shared_memory(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """Containers have 64 MB of it."""
    if str(lab.trial).startswith("/dev/shm"):
        elsewhere = Path(f"/var/tmp/{lab.trial.name}-{os.getpid()}")
        shutil.rmtree(elsewhere, ignore_errors=True)
        shutil.copytree(lab.trial, elsewhere)
        lab.trial, kept = elsewhere, lab.trial
        try:
            return well(lab, stage, lambda: mounted("size=64m", "/dev/shm"))
        finally:
            shutil.rmtree(elsewhere)
            lab.trial = kept
    return well(lab, stage, lambda: mounted("size=64m", "/dev/shm"))


def little_memory(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """Two gigabytes for the stage and its processes together, or as much less as ends it: then it says so."""
    group = Path(f"/sys/fs/cgroup/memory/faults-{os.getpid()}")
    group.mkdir(exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(str(2 << 30))
    try:
        outcome = _fresh(lab, stage, {}, lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
        return said_clearly(outcome, (0,)) + wrong(lab, stage)
    finally:
        time.sleep(0.2)
        group.rmdir()


def _fresh(lab: Lab, stage: str, environment: dict[str, str], before: Callable[[], object] | None = None) -> Outcome:
    """The stage in a Python that has just begun, as a shell starts it."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "stages.cli", *STAGES[stage][0]],
        cwd=lab.trial,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=before,
    )
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), time.monotonic() - began)


def read_only(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """The project is somebody else's, who lets us read it (root would not be kept out)."""
    output = lab.trial / STAGES[stage][1]
    output.mkdir(parents=True, exist_ok=True)
    lab.trial.parent.chmod(0o755)
    outcome = lab.start(stage, around=lambda: (os.setgid(NOBODY), os.setuid(NOBODY))[0]).wait()  # type: ignore[func-returns-value]
    if outcome.status == 0:
        return ["wrong: it ended well"]
    return [*said_clearly(outcome, (2, 75)), *rerun(lab, stage)]


def another_user(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """The project is theirs, and they are not root."""
    for path in [lab.trial, *lab.trial.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    return well(lab, stage, lambda: (os.setgid(NOBODY), os.setuid(NOBODY))[0])  # type: ignore[func-returns-value]


def odd_clock(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """The clock is years off, runs backwards, and files are from the future, or from before there were any."""
    for path in lab.trial.rglob("*"):
        os.utime(path, (moment := draw.choice([0, 2**31 - 1, 2**32 + 5, time.time() + 3e8]), moment))
    years = draw.choice([-30, -10, 10, 60])

    def around() -> None:
        now, state = time.time, [0.0]

        def odd() -> float:
            state[0] -= 1.0
            return now() + years * 3.15e7 + state[0]

        time.time = odd

    return well(lab, stage, around)


def odd_locale(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """The plainest locale, another encoding, a time zone that is no hour, hashes of words drawn anew."""
    environment = {"LC_ALL": draw.choice(["C", "POSIX", "C.utf8"]), "TZ": draw.choice(["Asia/Kathmandu", "XYZ-13:45"])}
    environment |= {"PYTHONUTF8": draw.choice("01"), "PYTHONHASHSEED": str(draw.randrange(999)), "COLUMNS": "1"}
    outcome = _fresh(lab, stage, environment)
    return said_clearly(outcome, (0,)) + wrong(lab, stage)


def odd_umask(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """Results have the modes that it gives."""
    mask = draw.choice([0o000, 0o007, 0o027, 0o077])
    problems = well(lab, stage, lambda: os.umask(mask))  # type: ignore[arg-type,return-value]
    root = lab.trial / STAGES[stage][1]
    new = lab.reference[stage].keys() - {
        str(path.relative_to(lab.folder / "before" / stage)) for path in (lab.folder / "before" / stage).rglob("*")
    }
    modes = {oct(path.stat().st_mode & 0o777) for path in root.rglob("*") if str(path.relative_to(lab.trial)) in new}
    return problems + ([f"wrong: modes {modes} under umask {mask:o}"] if modes - {oct(0o666 & ~mask)} else [])


def odd_path(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """The project lies in a folder whose name shells, patterns and terminals trip over."""
    kept, names = (
        lab.trial,
        ["a b", "-rf", 'it\'s "x"', "$HOME `id`", "[a-z]*", "ü\u0301 名", "line\nbreak", "%s{0}", "n" * 200],
    )
    lab.trial = kept.with_name(f"{kept.name} odd") / draw.choice(names)
    shutil.rmtree(lab.trial.parent, ignore_errors=True)
    shutil.copytree(kept, lab.trial)
    try:
        outcome = lab.start(stage, around=None).wait() if lab.trial.name != "n" * 200 else lab.run(stage)
        return said_clearly(outcome, (0,)) + wrong(lab, stage)
    finally:
        shutil.rmtree(lab.trial.parent)
        lab.trial = kept


def ignored_signals(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """A parent ignores what it does not want; streams may be closed, and files few."""

    def around() -> None:
        for number in draw.sample([signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE], 3):
            signal.signal(number, signal.SIG_IGN)
        os.close(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    return well(lab, stage, around)


SURROUNDINGS: dict[str, tuple[Try, int]] = {
    "full disk": (small_disk, 4),
    "64 MB of /dev/shm": (little_shared_memory, 2),
    "2 GB of memory": (little_memory, 3),
    "read-only": (read_only, 3),
    "another user": (another_user, 2),
    "odd clock": (odd_clock, 4),
    "odd locale": (odd_locale, 3),
    "odd umask": (odd_umask, 3),
    "odd path": (odd_path, 4),
    "ignored signals": (ignored_signals, 2),
}


def broken() -> None:
    """What the system refuses is taken for a bug, as it was once; modes are those of whoever wrote the file."""
    import pipeline.files.atomic as atomic
    import stages.cli

    atomic.explained = stages.cli.explained = lambda *_: None


ROW = Row("odd surroundings", ("says bug", "exit code", "wrong", "differing rerun"), trials, broken)
