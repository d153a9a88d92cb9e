"""Nothing that is printed does anything: 50 and more injections through every way to the terminal."""

import io
import logging
import os
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.inert import inert, inert_lines
from stages import printing
from tests.makers.injections import ALL, MARKUP, SURROGATES

ROOT = Path(__file__).parents[2]
JOINERS = "\u200c\u200d"  # Several scripts are written with them.
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def active(character: str) -> bool:
    """Whether Unicode says that a character is shown as nothing, breaks the line or turns the direction."""
    hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return hidden or unicodedata.bidirectional(character) in DIRECTIONS or character in "\u200e\u200f\u061c\u200b\ufeff"


def test_exactly_what_is_active_is_escaped():
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if active(character):
            assert inert(character).isascii() and inert(character).startswith("\\")
        elif unicodedata.category(character) not in ("Cf", "Cn") or character in JOINERS:
            assert inert(character) == character
    assert inert("à la carte, 日本語, עברית, 👩‍🚀, नमस्ते") == "à la carte, 日本語, עברית, 👩‍🚀, नमस्ते"


@pytest.fixture
def ways(capfd, monkeypatch):
    """Every way to the terminal: takes a text, gives what arrived."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers = []
    printing.log_to_stderr(logging.INFO)

    def shown(way: str, text: str) -> str:
        {
            "say": lambda: printing.say(f"shard {text}: done"),
            "note": lambda: printing.note(f"{text} is slow"),
            "error": lambda: printing.show_error(UserError(f"No {text}.", f"Correct {text}.")),
            "log": lambda: logging.getLogger("pipeline").warning("%s: damaged", text),
            "traceback": lambda: logging.getLogger("pipeline").error("x", exc_info=ValueError(text)),
            "warning": lambda: warnings.warn(f"{text} is odd", stacklevel=1),
            "table": lambda: table(text),
        }[way]()
        captured = capfd.readouterr()
        return captured.out + captured.err

    def table(text: str) -> None:
        from stages.tools.metrics import Published, _print_tables

        row = {"task": text, "dataset": text, "direction": "mean", "connection": text, "method": text}
        _print_tables(
            pd.DataFrame([{**row, "metric": "R@1", "value": 0.5, "chance": 0.1, "n": 3}]), Published(Path("none"))
        )

    yield shown
    root.handlers = before


@pytest.mark.parametrize("way", ["say", "note", "error", "log", "traceback", "warning", "table"])
def test_nothing_active_arrives(ways, way):
    for text in ALL:
        if way == "table" and text in SURROGATES:
            continue  # no Parquet file can hold them
        arrived = ways(way, text)
        assert arrived, "nothing was printed"
        assert not [character for character in arrived if active(character) and character != "\n"], text
        lines = arrived.splitlines()
        assert sum(line.startswith(("error:", "hint:")) for line in lines) == (2 if way == "error" else 0), text
        if way in ("say", "note"):
            assert len(lines) == 1, text


def test_brackets_are_no_markup(ways):
    for text in MARKUP:
        for way in ("say", "note", "error", "log"):
            assert text in ways(way, text)
        assert text[:5] in ways("table", text)


def test_lines_that_we_laid_out_stay_lines():
    assert inert_lines("a\nb\x1b\nc") == "a\nb\\x1b\nc"


def test_a_terminal_without_unicode_gets_codes(monkeypatch):
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, "ascii"))
    printing.prepare_streams()
    printing.say("größe 日")
    sys.stdout.flush()
    assert buffer.getvalue() == b"gr\\xf6\\xdfe \\u65e5\n"


def test_hostile_names_headers_and_arguments_reach_the_terminal_inert(tmp_path):
    """The real command: a table's header, file names, an argument, a key in params.yaml."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "table.csv").write_bytes(b"\x1b[31mfilename,\xe2\x80\xaetext\nx,y\n")
    for number, name in enumerate(
        (b"\x1b]0;t\x07.png", b"\xff\xfe.png", b"a\nerror: b.png", "\u202egnp".encode() + b".png")
    ):
        with open(os.path.join(os.fsencode(raw), name), "wb") as file:
            file.write(b"no picture %d" % number)
    (tmp_path / "params.yaml").write_text(
        "corpora:\n  t: {modalities: [text], source: raw/table.csv}\n  p: {modalities: [image], source: raw}\n"
        "spaces: {}\nencode: {}\nconnections: {}\nevaluate: {tasks: {}}\n"
    )
    for arguments, status in (
        (["shard", "t"], 2),
        (["shard", "p"], 2),
        (["shard", "\x1b[31mx"], 2),
        (["\x1b[2Jno"], 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "stages.cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
        )
        shown = (done.stdout + done.stderr).decode()
        assert done.returncode == status, shown
        assert not [character for character in shown if active(character) and character != "\n"], shown
        assert len([line for line in shown.splitlines() if line.startswith("error:")]) == 1, shown


@pytest.mark.parametrize("command", [["metrics", "--format", "csv"], ["schema"]])
def test_a_reader_that_went_away_is_no_bug(tmp_path, command):
    (tmp_path / "data/metrics").mkdir(parents=True)
    row = {"task": "t", "dataset": "d", "direction": "mean", "connection": "c", "method": "m", "metric": "R@1"}
    pd.DataFrame([{**row, "value": 0.5, "n": 9, "chance": 0.1}] * 9000).to_parquet(
        tmp_path / "data/metrics/metrics.parquet"
    )
    done = subprocess.run(
        f'{sys.executable} -m stages.cli {" ".join(command)} | head -c 10; echo " ${{PIPESTATUS[0]}}"',
        shell=True,
        executable="/bin/bash",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split()[-1] in ("0", "1", "75") and "bug" not in done.stderr


def test_only_one_module_prints():
    """Ruff keeps `print` out of everything else."""
    settings = (ROOT / "pyproject.toml").read_text()
    assert '"T20"]\n' in settings and '"stages/**" = ["B008"]' in settings
