"""`mcr shard` and `mcr encode` on raw files: the accounting line says what became of them and where the time went."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from pipeline.spaces.compact import CompactModel, save_compact
from pipeline.spaces.compact_towers import ImageSettings, TextSettings
from stages import context
from stages.cli import app
from stages.context import ConsoleProgress

ROOT = Path(__file__).parents[2]


def mcr(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_accounting_line_names_rate_split_and_bottleneck(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    folder = Path("data/demo/raw/photos")
    folder.mkdir(parents=True)
    for number in range(9):
        buffer = io.BytesIO()
        Image.fromarray(np.full((32, 32, 3), 20 * number, np.uint8)).save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
    save_compact(Path("data/spaces/clip"), CompactModel(8, {"text": TextSettings(("a",)), "image": ImageSettings()}))
    assert mcr("shard", "photos") == (
        "shard photos: in 9 = 9 out + 0 rejected; 1 of 1 parts computed, the others were up to date\n"
    )
    shares = ", ".join(rf"{step} \d+ %" for step in ("read", "decode", "compute", "write"))
    assert re.fullmatch(
        r"encode clip-photos image: in 9 = 9 out \+ 0 rejected; 1 of 1 parts computed, the others were up to date; "
        rf"\d+\.\d s, [\d,.]+ samples/s \({shares}; bottleneck: (read|decode|compute|write)\)\n",
        mcr("encode", "clip-photos"),
    )
    assert mcr("encode", "clip-photos").endswith("0 of 1 parts computed, the others were up to date\n")


def test_progress_tells_rate_time_left_and_the_busiest_step(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(context.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(context, "console", context.Console(stderr=True, width=200))
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
