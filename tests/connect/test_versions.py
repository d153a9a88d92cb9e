"""Connected spaces that an earlier version wrote: they open, and project as they did.

`version_1/` was trained and projected by the code before links, in schema version 1: one connection without a base of each
kind of pairs, one of two leaves.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.connect import ConnectedSpace
from pipeline.connect.config import load_config

FOLDER = Path(__file__).parent / "version_1"
PROJECTED: dict[str, list[list[float]]] = json.loads((FOLDER / "projected.json").read_text())


@pytest.mark.parametrize("what", PROJECTED)
def test_a_space_of_version_1_projects_as_it_did(what: str) -> None:
    place, space, modality = what.split()
    connected = ConnectedSpace.load(FOLDER / place)
    rows = np.eye(connected.config.spaces[space].dimension, dtype=np.float32)[:2]
    np.testing.assert_allclose(connected.project(space, rows, modality).numpy(), PROJECTED[what], atol=2e-6)


def test_its_links_are_told_in_todays_words(tmp_path: Path) -> None:
    found = {
        place: [(link.connection, link.name, link.spaces, link.base, link.overlap) for link in load_config(path).links]
        for place, path in {name: FOLDER / name for name in ("audio_image", "unified", "unified/ulip")}.items()
    }
    clap = ("unified", "clap", ("clip", "clap"), "clip", "text")
    ulip = ("unified", "ulip", ("clip", "ulip"), "clip", "image")
    assert found == {
        "audio_image": [("audio_image", "clip-clap", ("clip", "clap"), "", "text")],
        "unified": [clap, ulip],
        "unified/ulip": [ulip],
    }
    config = load_config(FOLDER / "unified")
    assert config.links[1].memories["ulip"].modality == "point" and config.links[1].train["epochs"] == 2
    config.save(tmp_path)
    assert load_config(tmp_path) == config
