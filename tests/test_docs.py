"""Every command of every page is one that can be given, and what the pages say of files is so."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from stages.cli import app
from tests.makers.readme import ROOT, blocks, pages

# What a shell has anyway, and other programs that a page shows in passing.
SHELL = {"cd", "source", "export", "open", "jq", "cat", "ls", "mkdir", "cp"}
# Words of a comment that say why a test does not give the command.
MARKS = ("network", "card", "another machine")


def commands() -> list[tuple[str, str]]:
    """(page, command) of all blocks that are commands; the lines of one that goes on are joined."""
    found = []
    for page in pages():
        for block in blocks(page.read_text()):
            lines = block.replace("\\\n", " ").splitlines()
            first = lines[0].split()[0] if lines and lines[0].split() else ""
            if first in SHELL | {"mcr", "dvc", "make", "python", "pip", "pytest", "git", "curl", "ssh", "bash"}:
                found += [(page.relative_to(ROOT).as_posix(), line) for line in lines if line.strip()]
    return found


def simple(line: str) -> list[list[str]]:
    """The commands of a line, each as words; redirections are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    found: list[list[str]] = [[]]
    for word in lexer:
        found.append([]) if set(word) <= set("&|;") else found[-1].append(word)
    return [words for words in found if words]


def check(words: list[str], line: str) -> None:
    """Fail unless the command can be given as it stands there, or its comment says what it needs."""
    name, *arguments = words
    marked = any(mark in line.partition("#")[2] for mark in MARKS)
    if name == "mcr":
        group: Any = typer.main.get_command(app)
        while arguments and arguments[0] in getattr(group, "commands", ()):
            group = group.commands[arguments.pop(0)]
        if "NAME" not in arguments and "RECIPE" not in arguments:
            group.make_context("mcr", arguments)  # raises what a user would see
    elif name == "dvc":
        from dvc.cli.parser import get_main_parser

        get_main_parser().parse_args(arguments)
    elif name == "make":
        text = (ROOT / "Makefile").read_text()
        assert all("=" in each or re.search(rf"^{re.escape(each)}:", text, re.MULTILINE) for each in arguments)
    elif name == "python":
        place = arguments[1].replace(".", "/") if arguments[0] == "-m" else arguments[0].removesuffix(".py")
        assert any((ROOT / each).exists() for each in (f"{place}.py", f"{place}/__main__.py")), place
    else:
        assert marked or name in SHELL | {"pytest", "curl"} or "127.0.0.1" in line, (
            f"needs what? Say it in a comment: {line}"
        )


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_can_be_given(page: str, line: str) -> None:
    for words in simple(line):
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        if words:
            check(words, line)


def test_commands_are_found() -> None:
    found = commands()
    assert len(found) > 60 and len({page for page, _ in found}) > 10
    with pytest.raises(AssertionError, match="needs what"):
        check(["wget", "x"], "wget x")
    with pytest.raises(Exception, match="No such option"):
        check(["mcr", "serve", "--nothing"], "")


# By page: a file of the small project that each of its tables of columns describes, in their order.
DESCRIBED = {
    "shards": ["shards/photos/_contents", "shards/photos/_duplicates", "shards/photos/_failures"],
    "stores": ["embeddings/clip/photos/image/part-00000"],
    "pairs": ["pairs/audio_image/clip-clap/overlap/part-00000", "pairs/audio_image/clip-clap/overlap/_examples"],
    "models": ["models/audio_image/clip-clap/history"],
    "metrics": ["metrics/metrics", "metrics/differences"],
}


def kind(found: pa.DataType) -> str:
    """A type as the pages write it: the width of vectors is that of the space."""
    hashes = found == pa.binary(32)
    return "fixed_size_binary[4 D]" if pa.types.is_fixed_size_binary(found) and not hashes else str(found)


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_specification_has_the_columns_that_files_have(name: str, made_project: Path) -> None:
    text = (ROOT / f"docs/formats/{name}.md").read_text()
    tables = re.findall(r"^\| column \| type \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    said = [re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE) for table in tables]
    schemas = [pq.read_schema(made_project / "data" / f"{place}.parquet") for place in DESCRIBED[name]]
    assert said == [[(field.name, kind(field.type)) for field in schema] for schema in schemas]


def test_the_specification_of_a_model_names_its_fields(made_project: Path) -> None:
    text = (ROOT / "docs/formats/models.md").read_text().split("## config.json")[1].split("## ")[0]
    said = {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert said == set(json.loads((made_project / "data/models/audio_image/config.json").read_text()))


def test_the_notebook_runs(small_project: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "docs/guide/notebook.ipynb", as_version=4)
    os.environ["PYTHONPATH"] = str(ROOT)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(small_project)}}).execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("text/html" in data for data in shown) == 3 and sum("image/png" in data for data in shown) == 1


def test_the_site_is_whole_and_asks_nobody(tmp_path: Path) -> None:
    """Built strictly: a link or an anchor that leads nowhere is an error; and no page loads anything from elsewhere."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = sorted((tmp_path / "site").rglob("*.html"))
    for page in built:
        loaded = re.findall(
            r"<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=\"?(https?:[^\s\">]+)", page.read_text()
        )
        assert not loaded, page
    for page in pages()[2:]:
        name = page.relative_to(ROOT / "docs").with_suffix("")
        place = name.parent if name.name == "index" else name
        assert (tmp_path / "site" / place / "index.html").is_file(), page
    home = (tmp_path / "site/index.html").read_text()
    assert all(page.relative_to(ROOT / "docs").with_suffix("").name in home for page in pages()[3:]), (
        "not in the navigation"
    )
