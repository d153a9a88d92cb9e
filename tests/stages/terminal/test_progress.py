"""How far work is: lines where nobody sees a bar, a bar in a real terminal, and nothing of it left behind."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.terminal import progress as module
from stages.terminal.progress import ConsoleProgress, Count, bar

ROOT = Path(__file__).parents[3]


def test_progress_tells_rate_time_left_and_the_busiest_step(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    progress = ConsoleProgress(interval=5)
    progress.start("encode clip image", 1000, "samples")
    for _ in range(3):
        now[0] += 4
        progress.advance(100, decode=1, compute=3)
    assert capsys.readouterr().err == (
        "encode clip image: 200 of 1,000 samples, 25/s, 32 s left  decode 25 %, compute 75 %\n"
    )
    progress.advance(0, write=1)
    assert progress.summary("encode clip image") == (
        "12.0 s, 25.0 samples/s (decode 25 %, compute 75 %, write 8 %; bottleneck: compute)"
    )
    progress.start("encode clip text", 0, "samples")
    assert progress.summary("encode clip text") == ""


def in_terminal(command: list[str], columns: int = 100, cwd: Path | None = None, **variables: str) -> bytes:
    """Everything that a command writes to a terminal of its own, until it ends."""
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": str(columns), **variables}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=cwd)
    os.close(slave)
    written, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([master], [], [], 0.2)[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            written += piece
        elif process.poll() is not None:
            break
    os.close(master)
    assert process.wait(30) == 0, written
    return written


def seen(written: bytes) -> list[str]:
    """What stands in the terminal in the end."""
    lines = []
    for line in written.decode().replace("\r\n", "\n").split("\n"):
        last = line.split("\x1b[2K")[-1].rpartition("\r")[2]
        lines.append(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last))
    return lines


WORK = """
import logging, sys, time
from stages.printing import log_to_stderr, note, say
from stages.terminal.progress import ConsoleProgress
log_to_stderr(logging.INFO)
progress = ConsoleProgress()
progress.start("encode clip image", 1000, "samples")
for step in range(10):
    time.sleep(0.12)
    if step == 3: say("on the standard output")
    if step == 5: note("on the other")
    if step == 7: logging.getLogger("x").warning("in the log")
    if step == 9 and len(sys.argv) > 1: break
    progress.advance(100, decode=0.01, compute=0.1)
say("done")
"""


@pytest.mark.parametrize("ended", [[], ["early"]])
def test_a_terminal_has_a_bar_that_nothing_runs_into(ended: list[str]) -> None:
    written = in_terminal([sys.executable, "-c", WORK, *ended])
    assert seen(written) == ["on the standard output", "on the other", "WARNING x: in the log", "done", ""]
    drawn = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in written.decode().split("\x1b[2K")]
    bars = [line for line in drawn if line.startswith("encode clip image")]
    assert len(bars) >= 5 and "━" in bars[-1]
    assert "not yet known how long" in bars[0]
    assert re.search(r"[1-9]00/1,000 samples +[\d,]+/s +0:0\d left +waits for compute", bars[-1])


def test_what_is_piped_has_no_bar() -> None:
    command = [sys.executable, "-c", WORK]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stderr


def test_a_dumb_terminal_has_no_bar() -> None:
    assert b"\x1b[2K" not in in_terminal([sys.executable, "-c", WORK], TERM="dumb")


def test_a_stage_in_a_terminal_leaves_its_accounting_line(small_project: Path) -> None:
    """From the first sample to the last; nothing of the bar is left, and no line is broken."""
    for part in Path("data/shards/photos").glob("*"):
        part.unlink()
    written = in_terminal([sys.executable, "-m", "stages.cli", "shard", "photos"], cwd=small_project)
    assert b"\x1b[2K" in written and b"samples" in written
    left = [line for line in seen(written) if line]
    assert left[-1].startswith("shard photos: in ") and not any("━" in line for line in left)


@pytest.mark.parametrize("columns", [20, 40, 80, 500])
@pytest.mark.parametrize("done", [0, 1, 999])
def test_a_bar_is_one_line_that_fits(monkeypatch: pytest.MonkeyPatch, columns: int, done: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    count = Count(1000, "samples", 0.0, 5000.0, done, {"read": 1.0, "compute": 3.0})
    line = re.sub(r"\x1b\[[0-9;]*m", "", bar("encode \x1b[31ma name\n that acts" * 3, count))
    assert "\n" not in line and "\x1b" not in line and len(line) < columns
    if columns == 500:
        assert "waits for compute" in line and ("left" in line) == bool(done)


def test_hours_are_hours() -> None:
    assert module._clock(3661) == "1:01:01" and module._clock(59.7) == "1:00"
