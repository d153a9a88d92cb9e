"""TERM, HUP and INT end every kind of work with their exit code, one line, and no temporary file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import png
from tests.stages.tools.tools_project import make_project

ROOT = Path(__file__).parents[2]
SIGNALS = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}

# What a stage may be doing when the signal comes; each says when it is in the middle of it.
WORK = {
    "python": "while True: pass",
    "sleep": "time.sleep(60)",
    "product": "a = numpy.ones((1500, 1500))\nwhile True: a @ a",
    "writing": "with atomic_path(Path('part')) as path:\n  path.write_text('half')\n  time.sleep(60)",
    "thread": "with ThreadPoolExecutor(1) as pool: pool.submit(time.sleep, 60).result()",
    "writing thread": """
def write():
  with atomic_path(Path('part')) as path:
    path.write_text('half'); time.sleep(60)
with ThreadPoolExecutor(1) as pool: pool.submit(write).result()""",
    "deaf": "while True:\n  try: time.sleep(60)\n  except BaseException: pass",
    "processes": "with ProcessPoolExecutor(2) as pool: list(pool.map(time.sleep, [60, 60]))",
}
PROGRAM = """
import os, sys, time, threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
import numpy, typer
import stages.cli, stages.signals
from pipeline.files.atomic import atomic_path
stages.signals.GRACE = 1.5

def work() -> None:
    threading.Timer(0.3, lambda: os.write(1, b"ready\\n")).start()
    exec(sys.argv.pop())

stages.cli.app.command("work")(work)
stages.cli.main()
"""


def start(work: str, folder: Path, **options: object) -> "subprocess.Popen[str]":
    run = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("sys.argv.pop()", repr(WORK[work])), "work"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    return run


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_the_work_whatever_it_is(tmp_path, work, number):
    if number != signal.SIGTERM and work not in ("python", "writing", "processes"):
        return  # how a signal arrives depends on the work, not on the signal
    run = start(work, tmp_path)
    began = time.monotonic()
    # A terminal sends to the whole group, `kill` to one process.
    os.killpg(run.pid, number) if number == signal.SIGINT else os.kill(run.pid, number)
    output, errors = run.communicate(timeout=20)
    assert run.returncode == SIGNALS[number]
    assert errors.splitlines()[-1] == f"Stopped by {number.name}. Run the same command again to continue."
    assert "Traceback" not in errors and not output
    assert not list(tmp_path.iterdir()), "something was left"
    assert time.monotonic() - began < 10
    while alive(run.pid) and time.monotonic() - began < 10:
        time.sleep(0.05)
    assert not alive(run.pid), "a process outlived the command"


def test_a_second_signal_ends_at_once(tmp_path):
    run = start("deaf", tmp_path)
    os.kill(run.pid, signal.SIGTERM)
    time.sleep(0.2)
    began = time.monotonic()
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10) == 143
    assert time.monotonic() - began < 1


def test_signals_that_the_parent_ignores_stay_ignored(tmp_path):
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    run = start("sleep", tmp_path, preexec_fn=ignore)
    os.kill(run.pid, signal.SIGHUP)
    time.sleep(0.5)
    assert run.poll() is None
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10) == 143


def test_how_a_child_ended_is_known_where_the_parent_ignores_it(tmp_path):
    """Python says 0 for every child of a process that ignores SIGCHLD."""
    work = "import subprocess; raise typer.Exit(subprocess.run(['sh', '-c', 'exit 7']).returncode)"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("sys.argv.pop()", repr(work)), "work"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        check=False,
    )
    assert done.returncode == 7


@pytest.mark.parametrize("shell", [[], ["sh", "-c", '"$@"; exit $?', "sh"]], ids=["alone", "in a shell"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_stage_ends_with_the_dvc_that_runs_it(tmp_path, shell, number):
    """As DVC starts commands: with its variable, and with nothing that passes a signal on."""
    command = [*shell, sys.executable, "-c", PROGRAM.replace("sys.argv.pop()", repr(WORK["writing"])), "work"]
    dvc = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.Popen({command!r}).communicate()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DVC_STAGE": "shard@photos"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert dvc.stdout is not None and dvc.stdout.readline() == "ready\n"
    os.kill(dvc.pid, number)
    errors = dvc.communicate(timeout=20)[1]  # ends when the stage closes its end, too
    assert errors.splitlines()[-1] == "Stopped by SIGTERM. Run the same command again to continue."
    assert not list(tmp_path.iterdir()), "something was left"


def test_a_stage_outlives_any_other_parent(tmp_path):
    command = [sys.executable, "-c", PROGRAM.replace("sys.argv.pop()", repr("time.sleep(3); print('done')")), "work"]
    shell = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.Popen({command!r}).communicate()"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "DVC_STAGE"} | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert shell.stdout is not None and shell.stdout.readline() == "ready\n"
    shell.kill()
    assert shell.communicate(timeout=20)[0] == "done\n"


def test_a_real_stage_stops_and_continues_to_the_same_bytes(tmp_path, tree_bytes):
    project = make_project(tmp_path)
    raw = project / "data/raw/photos"
    for number in range(300, 2000):
        (raw / f"q{number}.png").write_bytes(png(number))
        (raw / f"q{number}.txt").write_text(f"a photo number {number}")
    command = [sys.executable, "-m", "stages.cli", "shard", "photos"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shards = project / "data/shards/photos"
    for _ in range(3):
        kept = len(list(shards.glob("*.tar")))
        run = subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True)
        while run.poll() is None and len(list(shards.glob("*.tar"))) == kept:
            time.sleep(0.005)
        run.send_signal(signal.SIGTERM)
        errors = run.communicate(timeout=20)[1]
        assert run.returncode == 143
        assert errors.splitlines()[-1].startswith("Stopped by SIGTERM.")
        assert not list(project.rglob("*.tmp"))
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
    made = tree_bytes(project / "data/shards/photos")
    for path in (project / "data/shards/photos").iterdir():
        path.unlink()
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
    assert tree_bytes(project / "data/shards/photos") == made
