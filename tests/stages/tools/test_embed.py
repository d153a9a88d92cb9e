"""`mcr embed`: what is printed and written are the embeddings of the space."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.errors import UserError
from pipeline.spaces import SpaceSpec, load_space
from stages.cli import app
from tests.stages.tools.tools_project import make_project

FILES = ["data/raw/photos/p004.png", "data/raw/photos/p007.txt"]
ARGUMENTS = ["embed", *FILES, "--text", "a photo number 3", "--space", "clip"]


@pytest.fixture
def expected(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    space = load_space(SpaceSpec("compact", "data/spaces/clip"))
    inputs = [
        ("image", (tmp_path / FILES[0]).read_bytes()),
        ("text", b"a photo number 7"),
        ("text", b"a photo number 3"),
    ]
    return np.concatenate(
        [space.encode(kind, space.preprocess(kind, payload)[None]).numpy() for kind, payload in inputs]
    )


def run(*arguments: str):
    return CliRunner().invoke(app, [*ARGUMENTS, *arguments])


def test_lines_parquet_and_npy_hold_the_same(expected):
    lines = [json.loads(line) for line in run().stdout.splitlines()]
    assert [line["key"] for line in lines] == [*FILES, "a photo number 3"]
    np.testing.assert_allclose([line["embedding"] for line in lines], expected, atol=1e-5)
    assert "3 rows [3, 12]" in run("--output", "out/v.parquet").stdout
    table = pd.read_parquet("out/v.parquet")
    assert list(table.key) == [*FILES, "a photo number 3"]
    np.testing.assert_allclose(np.frombuffer(b"".join(table.embedding), "<f4").reshape(3, 12), expected, atol=1e-5)
    run("-o", "v.npy")
    np.testing.assert_allclose(np.load("v.npy"), expected, atol=1e-5)


def test_mistakes(expected, tmp_path):
    for arguments, said in (
        (["embed", "--space", "clip"], "nothing to embed"),
        ([*ARGUMENTS, "-o", "v.csv"], "neither .parquet nor .npy"),
        (["embed", FILES[0], "--space", "clop"], "no space 'clop'"),
    ):
        error = CliRunner().invoke(app, arguments).exception
        assert isinstance(error, UserError) and said in error.message
    assert not list(tmp_path.glob("v*"))
