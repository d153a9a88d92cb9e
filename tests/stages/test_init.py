"""`mcr init`: a recipe becomes params.yaml, and nobody's work is overwritten."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.params.load import load_params
from stages.init import PRESETS, init

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("preset", [path.stem for path in PRESETS.glob("*.yaml")])
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


def test_an_unknown_recipe_lists_the_known_ones(empty):
    with pytest.raises(UserError) as error:
        init("cmcr")
    assert "cmcr-audio-image" in error.value.hint


def test_the_parameters_in_the_root_are_the_demo_recipe():
    assert load_params(ROOT / "params.yaml") == load_params(PRESETS / "demo.yaml")
