"""Names are folders, stages, arguments and keys: whatever cannot be all of these is refused before any work."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.errors import UserError
from pipeline.names import name_problem
from pipeline.params.load import load_params
from stages.cli import app
from stages.tools.check import check
from stages.tools.init import PRESETS
from tests.params.test_load import DEMO, ROOT, problems

WRONG = {
    # what: what a person is to write instead
    "x; touch FILE #": "write x-touch-FILE",
    "$(touch FILE)": "write touch-FILE",
    "`touch FILE`": "write touch-FILE",
    "../raw/pics": "write raw-pics",
    "/etc": "write etc",
    "..": "is not a name",
    ".hidden": "write hidden",
    "-x": "write x",
    "_x": "write x",
    "a.b": "write a-b",
    "a b": "write a-b",
    "a\nb": "write a-b",
    "a\n": "write a",
    "a'b": "write a-b",
    'a"b': "write a-b",
    "a\\b": "write a-b",
    "a,b": "write a-b",
    "a@b": "write a-b",
    "${a}": "write a",
    "café": "write caf",
    "猫": "is not a name",
    "": "is not a name",
    "x" * 65: "write x",
    "1e3": "word",  # unquoted it is a number already
    "1E-3": "word",
    "12": "write a word",
    "007": "write a word",
    "1_000": "write a word",
    "0x1f": "write a word",
    "2026-11-26": "write a word",
    "null": "write a word",
    "On": "write a word",
    "y": "write a word",
    "NaN": "write a word",
    "nul": "write nul-1",
    "COM1": "write COM1-1",
    12: "is not a word",
    1.5: "is not a word",
    True: "is not a word",
    None: "is not a word",
}
RIGHT = (
    "a",
    "photos",
    "3d-shapes",
    "ViT-B-32",
    "clip_2",
    "x" * 64,
    "e3",
    "1e3a",
    "nully",
    "on-line",
    "a--b",
    "0x",
    "7b",
)


def renamed(section: str, name: object) -> dict:
    """The demo's parameters with the first entry of a section under another name, also where it is referred to."""
    raw = copy.deepcopy(DEMO)
    table = raw["evaluate"]["tasks"] if section == "tasks" else raw[section]
    first = next(iter(table))
    table[name] = table.pop(first)
    return raw


@pytest.mark.parametrize("name", WRONG, ids=repr)
def test_a_wrong_name_is_refused_in_every_section(tmp_path, name):
    for section in ("corpora", "spaces", "encode", "connections", "tasks"):
        message = problems(tmp_path, renamed(section, name))
        where = "evaluate.tasks" if section == "tasks" else section
        assert any(line.strip().startswith(f"{where}: ") and WRONG[name] in line for line in message.splitlines())


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_name_is_taken(tmp_path, name):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(renamed("encode", name)))
    assert name in load_params(path).encode
    assert yaml.safe_load(f"{name}: 1") == {name: 1}, "unquoted it is the same word"


@given(st.text(max_size=12))
def test_whatever_passes_is_a_folder_an_argument_and_a_word(name):
    if not name_problem(name):
        assert yaml.safe_load(f"- {name}") == [name]
        assert Path("data", name).resolve().parent == Path("data").resolve()
        assert name.isascii() and not name.startswith("-") and name == name.split()[0]


def test_the_parts_of_a_connection_are_folders_too(tmp_path):
    raw = copy.deepcopy(DEMO)
    leaves = raw["connections"]["unified"]["join"]["leaves"]
    leaves["../../photos"] = leaves.pop("clap")
    raw["connections"]["audio_image"]["join"]["memories"]["x;y"] = {}
    message = problems(tmp_path, raw)
    assert "connections.unified.join.leaves: '../../photos' is not a name: write photos" in message
    assert "connections.audio_image.join.memories: 'x;y' is not a name: write x-y" in message


def test_names_that_differ_by_case_only_are_one_folder_on_some_disks(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["corpora"]["Photos"] = dict(raw["corpora"]["photos"])
    assert "corpora: Photos and photos are one folder" in problems(tmp_path, raw)


@pytest.mark.parametrize("path", ["../secret.csv", "/etc/passwd", "a/../../b.csv"])
def test_tables_stay_in_their_folder(tmp_path, path):
    raw = copy.deepcopy(DEMO)
    raw["evaluate"]["tasks"]["point_image"]["only"]["table"] = path
    raw["evaluate"]["tasks"]["shapes"]["labels"]["table"] = path
    raw["corpora"]["photos"]["index"] = path
    message = problems(tmp_path, raw)
    for where in (
        "evaluate.tasks.point_image.only.table",
        "evaluate.tasks.shapes.labels.table",
        "corpora.photos.index",
    ):
        assert f"{where} = {path!r}: has to be a path below its folder" in message


@pytest.mark.parametrize(
    "command",
    ["shard x", "encode --space x", "retrieve x", "train x", "evaluate", "report", "plan", "check", "search x"],
)
def test_every_command_refuses_before_any_work(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(renamed("corpora", "../raw/pics")))
    done = CliRunner().invoke(app, command.split())
    assert isinstance(done.exception, UserError) and "'../raw/pics' is not a name" in done.exception.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml"]


@pytest.mark.parametrize(
    "command",
    [
        "import embeddings . --space clip --corpus ../x",
        "import projectors a.pt --name ../x",
        "crop ../x table.csv pictures",
    ],
)
def test_names_in_the_arguments_too(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, command.split())
    assert isinstance(done.exception, UserError) and "'../x' is not a name" in done.exception.message


NUMBERS = {
    "connections.audio_image.train.epochs": 1,
    "connections.audio_image.train.learning_rate": 1.0,
    "threads": 1,
    "evaluate.recall_at": (1, 5),
    "spaces.clip.batch_size": 1,
}


@pytest.mark.parametrize("where", NUMBERS)
def test_true_is_no_number(tmp_path, where):
    raw = copy.deepcopy(DEMO)
    *parents, last = where.split(".")
    target = raw
    for parent in parents:
        target = target[parent]
    target[last] = [True, 5] if isinstance(NUMBERS[where], tuple) else True
    message = problems(tmp_path, raw)
    assert where in message and "= true: is a truth value; write 1" in message


def test_long_and_many_mistakes_stay_readable(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["connections"]["audio_image"]["train"]["epochs"] = "\x1b[31m" + "x" * 5000
    raw["corpora"] |= {f"c{number}": {"source": 3} for number in range(200)}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw).replace("\\e", ""))
    with pytest.raises(UserError) as error:
        load_params(path)
    lines = error.value.message.splitlines()
    assert len(lines) < 60 and lines[-1].startswith("  and ") and max(map(len, lines)) < 400


# One key of every section, and a value that it does not have.
OVERRIDES = {
    "demo": {
        "seed": 7,
        "threads": 1,
        "corpora.captions.samples_per_shard": 1000,
        "limits.max_rejected": 0.5,
        "spaces.clap.encoder": "laion_clap",
        "encode.clip-photos.corpus": "captions",
        **{
            f"connections.{name}.train.epochs": 77
            for name in ("audio_image", "point_text", "unified", "coupled", "coupled_unified")
        },
        **{f"connections.{name}.train.batch_size": 77 for name in ("shuffled_text", "random_partners", "oracle")},
        "connections.coupled.retrieve.draws": 5,
        "connections.coupled_unified.retrieve.profile.perplexity": 11,
        "connections.audio_image.join.memories.clip.modality": "text",
        "connections.unified.join.leaves.ulip.overlap": "text",
        "connections.point_text.retrieve.temperature": 0.5,
        "connections.audio_image.train.projector.hidden": 77,
        "evaluate.bootstrap": 70,
        "evaluate.tasks.audio_point_shape.labels.column": "size",
        "evaluate.tasks.shapes.labels.column": "size",
        "report.title": "other",
        "run.workers": 3,
    }
}
OVERRIDES |= {
    path.stem: {
        "seed": 7,
        **{
            f"connections.{name}.train.epochs": 77
            for name, connection in yaml.safe_load(path.read_text())["connections"].items()
            if "epochs" in connection["train"]  # not of a method that trains nothing
        },
    }
    for path in PRESETS.glob("*.yaml")
    if path.stem != "demo"
}


def flat(value: object, where: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        return {place: one for key, below in value.items() for place, one in flat(below, f"{where}.{key}").items()}
    return {where[1:]: value}


@pytest.mark.parametrize(("preset", "where"), [(name, key) for name, keys in OVERRIDES.items() for key in keys])
def test_one_value_set_by_dvc_changes_that_value_alone(tmp_path, preset, where):
    """As `dvc exp run -S connections.audio_image.train.epochs=6` sets it."""
    path = tmp_path / "params.yaml"
    path.write_text((PRESETS / f"{preset}.yaml").read_text())
    before = flat(yaml.safe_load(path.read_text()))
    value = OVERRIDES[preset][where]
    assert before[where] != value
    apply_overrides(str(path), [f"{where}={value}"])
    after = flat(yaml.safe_load(path.read_text()))
    assert {key for key in before | after if before.get(key) != after.get(key)} == {where}
    assert after[where] == value


def test_check_warns_of_aliases_and_takes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params.yaml").read_text()
    check(ROOT / "params.yaml")
    assert "alias" not in capsys.readouterr().out
    shared = text.replace("    train:\n", "    train: &t\n", 1).replace("    train: {", "    train: {<<: *t, ", 1)
    Path("params.yaml").write_text(shared.replace("  title:", "  examples: &n 3\n  neighbours: *n\n  title:"))
    check(Path("params.yaml"))
    assert "YAML aliases (line" in capsys.readouterr().out


def test_check_notes_a_headline_of_no_task(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    raw = copy.deepcopy(DEMO)
    raw["evaluate"]["headlines"] = {"mine": "audio_imge/audio_image/R@10"}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    check(Path("params.yaml"))
    assert "the headline mine is of the task audio_imge" in capsys.readouterr().out


def test_a_recipe_is_no_program(tmp_path):
    """What the shell of a stage is given is quoted, so that also a name that nobody checked is one argument."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    commands = [stage["do"]["cmd"] for stage in stages if "do" in stage]
    assert commands
    for command in commands:
        command = command.replace("mcr", f"{sys.executable} -c 'import sys; print(len(sys.argv))'")
        for name in ("a b", "x; touch FILE #", "$HOME", "a & b"):
            said = subprocess.run(
                command.replace("${key}", name.replace("$", "\\$")), shell=True, cwd=tmp_path, capture_output=True
            )
            assert said.stdout.strip() in (b"3", b"4"), command
        assert not list(tmp_path.iterdir())
