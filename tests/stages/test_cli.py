"""The command line: exit codes, streams, and a start without heavy libraries."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from stages.cli import app

ROOT = Path(__file__).parents[2]


def mcr(*arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "stages.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )


def test_a_users_mistake_exits_with_2_and_says_what_to_do(tmp_path):
    done = mcr("shard", "photos", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: params.yaml does not exist.\nhint: ")
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_misspelt_name_gets_the_nearest_one():
    done = mcr("encode", "clip-fotos")
    assert done.returncode == 2
    assert "'clip-photos'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["encode", "--space", "CLIP"], "clip"),
        (["shard", "PHOTOS"], "photos"),
        (["compare", "AI"], "ai"),
        (["export", "embeddings", "x", "--store", "clip/photos/image", "--to", "FAISS"], "faiss"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_a_name_in_another_case_gets_the_right_one(tmp_path, arguments, meant):
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["connections"]["ai"] = settings["connections"]["audio_image"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    done = mcr(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and f"Did you mean {meant!r}?" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_do_no_harm(closed):
    command = f"exec {sys.executable} -m stages.cli schema {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr


def test_our_own_mistake_exits_with_1_and_shows_the_traceback_on_demand(tmp_path):
    (tmp_path / "params.yaml").mkdir()  # `is_file` is false for a folder, so this is still the user's
    assert mcr("check", cwd=tmp_path).returncode == 2
    broken = "import stages.cli as c, pipeline.params.load as l; l.load_params = lambda p: 1 / 0; c.main()"
    done = subprocess.run([sys.executable, "-c", broken, "check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "unexpected ZeroDivisionError" in done.stderr and "Traceback" not in done.stderr
    done = subprocess.run([sys.executable, "-c", broken, "-v", "check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    "command", [command.callback.__name__.replace("_", "-") for command in app.registered_commands]
)
def test_every_command_explains_itself_with_an_example(command):
    """Below its usage line, and the example is one that the command understands."""
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    lines = [line.strip().removeprefix("Example: ") for line in result.output.splitlines() if "Usage:" not in line]
    examples = [line for line in lines if line.startswith(f"mcr {command}")]
    assert examples, "no example"
    whole = typer.main.get_command(app)
    for example in examples:
        words = shlex.split(re.split(r" (?:&&|>|\|) ", example)[0])[1:]
        with whole.make_context("mcr", words) as context:
            name, own, rest = whole.resolve_command(context, [*context._protected_args, *context.args])
            own.make_context(name, rest, parent=context)


def test_help_imports_nothing_heavy():
    program = (
        "import sys\nfrom stages.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'numpy', 'dvc', 'open_clip', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_inputs_import_neither_arrays_nor_torch():
    """`dvc repro` begins with it, each time."""
    program = (
        "import sys\nimport stages.context, stages.tools.inputs, pipeline.inputs.contents, pipeline.params.load\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'numpy', 'dvc', 'PIL', 'fsspec'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_check_accepts_the_shipped_parameters():
    done = mcr("check")
    assert done.returncode == 0
    assert done.stdout.startswith("params.yaml is valid")
