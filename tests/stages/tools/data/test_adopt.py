"""`mcr import`: imported stores and projectors are used like our own."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner

from pipeline.connect import ConnectedSpace
from pipeline.errors import UserError
from pipeline.store import read_embeddings
from pipeline.store.lock import LOCK_NAME, HeldError, Holder
from stages.cli import app
from tests.adopt.test_projectors import published
from tests.stages.tools.tools_project import make_project


def mcr(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception:
        raise done.exception
    return done.stdout


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that encoded its photos, and a folder with the same embeddings as clip-retrieval would have written it."""
    monkeypatch.chdir(make_project(tmp_path))
    mcr("shard", "photos")
    mcr("encode", "clip-photos")
    for modality, name in (("image", "img_emb"), ("text", "text_emb")):
        keys, embeddings = read_embeddings([tmp_path / "data/embeddings/clip/photos" / modality])
        for folder in (name, "metadata"):
            (tmp_path / "bought" / folder).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "bought" / name / f"{name}_0.npy", embeddings.astype(np.float16))
        pd.DataFrame({"image_path": keys}).to_parquet(tmp_path / "bought/metadata/metadata_0.parquet")
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["corpora"]["bought"] = {"modalities": ["image", "text"], "source": "bought"}
    params["evaluate"]["tasks"]["theirs"] = {**params["evaluate"]["tasks"]["own"], "corpus": "bought"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def test_an_imported_store_is_evaluated_and_reported_but_not_recomputed(project):
    said = mcr("import", "embeddings", "bought", "--space", "clip", "--corpus", "bought")
    assert "import clip/bought image: in 25 = 25 out" in said and "clip/bought text" in said
    said = mcr("verify", "--recompute", "4")
    assert said.count("imported: unverified") == said.count("not recomputed: it was imported") == 2
    assert (
        said.count("recomputed 4") == 2 and "DAMAGED" not in said and "data/embeddings/clip/bought/image: sound" in said
    )
    mcr("evaluate")
    metrics = pd.read_parquet("data/metrics/metrics.parquet")
    metrics = metrics[metrics.metric == "R@5"].pivot_table(index="direction", columns="task", values="value")
    assert len(metrics) == 3
    assert (metrics.own - metrics.theirs).abs().max() <= 0.04  # half precision may swap neighbours
    mcr("report")
    assert "unverified" in (project / "data/reports/index.html").read_text()


def test_imported_projectors_are_a_connected_space(project):
    torch.save(published("clap_clip"), "renamed.pt")
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["spaces"]["sound"] = {"encoder": "laion_clap", "checkpoint": "data/spaces/sound"}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    arguments = ("import", "projectors", "renamed.pt", "--name", "theirs", "--clap", "sound")
    with pytest.raises(UserError, match="no layout 'renamed'"):
        mcr(*arguments)
    assert "sound mlp 512 -> 512" in mcr(*arguments, "--layout", "clap_clip")
    space = ConnectedSpace.load("data/models/theirs")
    assert space.config.spaces["clip"].spec["checkpoint"] == "data/spaces/clip"
    assert space.modalities == ("text", "image", "audio")


def test_a_lock_of_elsewhere_is_broken_on_demand(project):
    """A holder on another machine cannot be proved dead."""
    torch.save(published("clap_clip"), "clap_clip.pt")
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["spaces"]["sound"] = {"encoder": "laion_clap", "checkpoint": "data/spaces/sound"}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    elsewhere = json.dumps(asdict(replace(Holder.here(), host="elsewhere")))
    for arguments, output in (
        (("embeddings", "bought", "--space", "clip", "--corpus", "bought"), "data/embeddings/clip/bought/text"),
        (("projectors", "clap_clip.pt", "--name", "theirs", "--clap", "sound"), "data/models/theirs"),
    ):
        lock = project / output / LOCK_NAME
        lock.parent.mkdir(parents=True)
        lock.write_text(elsewhere)
        with pytest.raises(HeldError, match="on elsewhere") as caught:
            mcr("import", *arguments)
        assert "--break-lock" in caught.value.hint
        mcr("import", *arguments, "--break-lock")
        assert not lock.exists()


def test_mistakes(project):
    embeddings = ("import", "embeddings", "bought", "--corpus", "bought", "--space")
    for arguments, said in (
        ((*embeddings, "clop"), "no space 'clop'"),
        ((*embeddings, "clip", "--modality", "audio"), "no img_emb or text_emb"),
        ((*embeddings, "clip", "--modality", "audio", "--vectors", "img_emb"), "does not embed audio"),
        ((*embeddings, "clip", "--vectors", "img_emb"), "of the embeddings in img_emb"),
        (("import", "projectors", "gone.pt", "--name", "x"), "gone.pt does not exist"),
        (("import", "projectors", "gone/clap_clip.pt", "--name", "x"), "no space 'clap'"),
        (("import", "projectors", "gone/clap_clip.pt", "--name", "x", "--clap", "clip"), "does not exist"),
    ):
        with pytest.raises(UserError, match=said):
            mcr(*arguments)
