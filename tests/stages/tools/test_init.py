"""`mcr init`: a recipe becomes params.yaml, and nobody's work is overwritten."""

from pathlib import Path

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.params.load import load_params
from stages.tools.check import check
from stages.tools.init import PRESETS, init

ROOT = Path(__file__).parents[3]


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    """A folder whose stages are somebody's own, so that only the parameters are written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    return tmp_path


@pytest.mark.parametrize("preset", [*(path.stem for path in PRESETS.glob("*.yaml")), "tables/frozen"])
def test_a_recipe_makes_valid_parameters_and_the_folders_that_they_name(empty, preset):
    init(preset)
    params = load_params(Path("params.yaml"))
    assert all(Path("data/spaces", name).is_dir() for name in params.spaces)
    assert all((Path(corpus.source).parent).is_dir() for corpus in params.corpora.values())


def test_changed_parameters_are_not_replaced(empty):
    init("demo")
    init("cmcr-audio-image")  # an unchanged recipe may be replaced
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "\n# mine\n")
    with pytest.raises(UserError, match="was changed"):
        init("demo")
    init("demo", force=True)
    assert "# mine" not in Path("params.yaml").read_text()


def test_the_demos_stages_leave_the_project_with_its_recipe(empty):
    """Else `dvc repro` would take data/spaces/clip for an outdated result of the demo, remove it, and train its own."""
    Path(".dvcignore").write_text("*.tmp\n")
    for preset, expected in (("exmcr", "*.tmp\n/data/demo/dvc.yaml\n"), ("demo", "*.tmp\n")):
        for _ in range(2):
            init(preset)
            assert Path(".dvcignore").read_text() == expected


def test_what_lies_in_the_place_of_weights_is_said(empty, capsys):
    init("exmcr")
    Path("data/spaces/clap/theirs.pt").touch()
    capsys.readouterr()
    init("cmcr-audio-image")
    assert "  data/spaces/clap/  the weights of the space clap; it holds theirs.pt\n" in capsys.readouterr().out


@pytest.mark.parametrize("preset", [*(path.stem for path in PRESETS.glob("*.yaml")), "tables/frozen"])
def test_a_recipe_has_every_key_that_dvc_depends_on(empty, preset):
    init(preset)
    check()
    path = Path("params.yaml")
    params = yaml.safe_load(path.read_text())
    del params["limits"]
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match="has no limits, but dvc.yaml"):
        check()


def test_an_unknown_recipe_lists_the_known_ones(empty):
    with pytest.raises(UserError) as error:
        init("cmcr")
    known = (
        [path.stem for path in PRESETS.glob("*.yaml")],
        [f"tables/{path.stem}" for path in PRESETS.glob("tables/*.yaml")],
    )
    assert error.value.hint == f"Choose one of: {', '.join([*sorted(known[0]), *sorted(known[1])])}."
    assert {"joint", "exmcr", "bridge-audio-image"} <= set(known[0])


def test_the_parameters_in_the_root_are_the_demo_recipe():
    assert load_params(ROOT / "params.yaml") == load_params(PRESETS / "demo.yaml")


def test_the_next_commands_and_what_they_cost(empty, capsys):
    init("first-light")
    said = capsys.readouterr().out.split("Next:\n")[1].splitlines()
    assert [line.split("#")[0].strip() for line in said] == [
        "mcr fetch", "mcr prepare tuxpaint downloads/tuxpaint", "mcr doctor", "dvc repro",
    ]  # fmt: skip
    assert "about 1.8 GB from the Hugging Face Hub: clip, clap, texts, images, sounds" in said[0]
    init("demo")
    assert "mcr fetch" not in capsys.readouterr().out, "the demo trains its own spaces"


def test_the_folder_of_plug_ins_says_what_it_is_for_and_keeps_what_is_in_it(empty):
    init("demo")
    about = Path("plugins/README.md")
    assert about.read_text() == (ROOT / "plugins/README.md").read_text()
    about.unlink()
    Path("plugins/mine.py").touch()
    init("exmcr")
    assert [path.name for path in Path("plugins").iterdir()] == ["mine.py"]
