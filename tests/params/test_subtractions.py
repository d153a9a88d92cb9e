"""Parts of a recipe are left out with all that served only them, whatever the shape of its connections."""

from pathlib import Path

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.params.load import check_params
from pipeline.params.subtractions import without
from stages.tools.init import PRESETS

RECIPES = [*sorted(PRESETS.glob("*.yaml")), *sorted(PRESETS.glob("tables/*.yaml"))]
JOINT = (PRESETS / "joint.yaml").read_text()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_whatever_is_left_out_the_rest_is_a_recipe_or_the_error_is_the_users(recipe: Path):
    text = recipe.read_text()
    content = yaml.safe_load(text)
    for name in (*content["connections"], *content["corpora"]):
        try:
            left = yaml.safe_load(without(text, [name], recipe.stem))
        except UserError:
            continue
        check_params(left, recipe.stem)
        assert name not in left["connections"] and name not in left["corpora"]


def test_a_graph_of_links_keeps_what_its_links_read():
    left = yaml.safe_load(without(JOINT, ["captioned"], "joint"))
    assert set(left["corpora"]) == {"texts", "images", "sounds", "shapes", "heldout"}
    assert set(left["spaces"]) == {"clip", "clap", "ulip"}
    assert {"clip-captioned"} == set(yaml.safe_load(JOINT)["encode"]) - set(left["encode"])


def test_a_witness_keeps_its_space_and_its_jobs():
    witnessed = yaml.safe_load(JOINT)
    links = witnessed["connections"]["joint"]["join"]["links"]
    links["sound"]["witness"] = {"space": "ulip", "modality": "image"}
    del links["shape"], witnessed["connections"]["joint"]["train"]["links"]
    witnessed["encode"]["ulip-texts"] = {"space": "ulip", "corpus": "texts"}
    left = yaml.safe_load(without(yaml.safe_dump(witnessed), ["captioned"], "joint"))
    assert {"ulip-texts", "ulip-images"} <= set(left["encode"]) and "ulip-shapes" not in left["encode"]


def test_without_the_graph_its_shapes_go_with_it():
    left = yaml.safe_load(without(JOINT, ["joint"], "joint"))
    assert set(left["spaces"]) == {"clip", "clap"} and "shapes" not in left["corpora"]
