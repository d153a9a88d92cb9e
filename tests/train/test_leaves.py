"""Leaves end to end: independent of each other, repeatable to the byte, united into one connected space."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.connect import ConnectedSpace
from pipeline.errors import CorruptError, UserError
from pipeline.hashing import sha256_bytes
from pipeline.links import Link
from pipeline.store import PAIRS, PartFolder, Rows, write_rows
from pipeline.train.run import train_connection
from pipeline.train.settings import DecoupledSettings, LeafTrainSettings
from tests.makers.links import make_link
from tests.train.conftest import LATENT, aggregate, unit
from tests.train.test_run import KillAt, Killed

WIDTHS = {"clip": 24, "clap": 20, "ulip": 18}
MODALITIES = {"clip": ["text", "image"], "clap": ["text", "audio"], "ulip": ["image", "point"]}
OVERLAP = {"clap": "text", "ulip": "image"}
OWN = {"clap": {"clip": "image", "clap": "audio"}, "ulip": {"clip": "text", "ulip": "point"}}
SETTINGS = LeafTrainSettings(
    projector=DecoupledSettings(hidden=24), epochs=3, batch_size=40, learning_rate=3e-3, noise_variance=0.001
)
SETS = ("overlap", "leaf", "base")


def embed(space: str, modality: str, latents: np.ndarray, seed: int) -> np.ndarray:
    """A rotation of the latents per space, an offset per modality, noise in what is left."""
    width, name = WIDTHS[space], [*space.encode()]
    rotation = np.linalg.qr(np.random.default_rng(name).standard_normal((width, width)))[0]
    noise = np.random.default_rng([seed, *name]).standard_normal((len(latents), width - LATENT)) * 0.1
    gap = 0.2 * np.random.default_rng([*space.encode(), *modality.encode()]).standard_normal(width)
    return unit(np.hstack([latents, noise]) @ rotation + gap).astype(np.float32)


def write_sets(folder: Path, leaf: str, rows: int = 64, changed: int = 0) -> list[Path]:
    """The three sets of a leaf as the retrieve stage would write them; `changed` is another draw of the data."""
    for number, name in enumerate(SETS):
        latents = unit(np.random.default_rng([number, changed, *leaf.encode()]).standard_normal((rows, LATENT)))
        columns = {}
        for space in ("clip", leaf):
            columns[f"{space}_{OVERLAP[leaf]}"] = embed(space, OVERLAP[leaf], latents, number)
            memory = embed(space, OWN[leaf][space], latents, number + 10)
            columns[f"{space}_{OWN[leaf][space]}"] = aggregate(memory, memory, 0.05).astype(np.float32)
        fingerprint = {
            "connection": f"unified/{leaf}",
            "method": "exmcr",
            "centre": name,
            "spaces": {
                space: {"spec": {"encoder": "compact"}, "modalities": MODALITIES[space], "dimension": WIDTHS[space]}
                for space in ("clip", leaf)
            },
            "overlap": OVERLAP[leaf],
            "memories": OWN[leaf],
        }
        store = PartFolder(folder / leaf / name, PAIRS, fingerprint)
        keys = [f"{row:03d}" for row in range(rows)]  # The same keys in every set: each is a store of its own.
        content = Rows(keys, columns, {})
        source = sha256_bytes(b"".join(matrix.tobytes() for matrix in columns.values()))
        store.commit(
            "part-00000.parquet", source, keys, [], lambda path, content=content: write_rows(path, content, {})
        )
        store.finish(0.0)
    return [folder / leaf / name for name in SETS]


Links = dict[str, tuple[Link, LeafTrainSettings]]


def leaf_link(leaf: str, sets: tuple[str, ...] = SETS) -> Link:
    """The link of a leaf to the base, as `write_sets` writes its pairs."""
    return make_link("unified", ("clip", leaf), OVERLAP[leaf], OWN[leaf], "clip", sets)


@pytest.fixture
def links(tmp_path: Path) -> Links:
    for leaf in OWN:
        write_sets(tmp_path / "pairs" / "unified", leaf)
    return {leaf: (leaf_link(leaf), SETTINGS) for leaf in OWN}


def train(links: Links, output: Path, **changed: object):
    pairs = output.parent / "pairs"
    found = train_connection(list(links.values()), "exmcr", pairs, output, **{"seed": 3, **changed})  # type: ignore[arg-type]
    return {label.removeprefix("unified/"): result for label, result in found.items()}


def content(output: Path) -> dict[str, bytes]:
    return {
        path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()
    }


FILES = ("projector.safetensors", "history.parquet", "config.json")


def test_two_runs_give_the_same_bytes_and_a_third_does_nothing(links, tmp_path: Path) -> None:
    results = train(links, tmp_path / "a")
    state = torch.get_rng_state()
    train(links, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), state)
    first = content(tmp_path / "a")
    assert first == content(tmp_path / "b")
    assert first.keys() == {"config.json", *(f"{leaf}/{name}" for leaf in links for name in FILES)}
    assert {(result.pairs, result.used, result.computed, result.steps) for result in results.values()} == {
        (192, 160, 3, 12)
    }
    assert [result.computed for result in train(links, tmp_path / "a").values()] == [0, 0]
    assert content(tmp_path / "a") == first
    train(links, tmp_path / "c", seed=4)
    assert content(tmp_path / "c")["clap/projector.safetensors"] != first["clap/projector.safetensors"]


def test_adding_changing_or_removing_a_leaf_leaves_the_other_as_it_is(links, tmp_path: Path) -> None:
    output = tmp_path / "model"
    train({"clap": links["clap"]}, output)
    alone = {name: data for name, data in content(output).items() if name.startswith("clap/")}
    times = {name: (output / name).stat().st_mtime_ns for name in alone}
    assert ConnectedSpace.load(output).modalities == ("text", "image", "audio")
    assert [result.computed for result in train(links, output).values()] == [0, 3]
    both = content(output)
    assert {name: both[name] for name in alone} == alone
    write_sets(tmp_path / "pairs" / "unified", "ulip", changed=1)
    assert [result.computed for result in train(links, output).values()] == [0, 3]
    assert content(output)["ulip/projector.safetensors"] != both["ulip/projector.safetensors"]
    assert times == {name: (output / name).stat().st_mtime_ns for name in alone}
    train({"clap": links["clap"]}, output)
    assert content(output).keys() == {"config.json", *alone}
    assert ConnectedSpace.load(output).modalities == ("text", "image", "audio")
    # The leaf is a connected space by itself.
    assert ConnectedSpace.load(output / "clap").space_of("audio") == "clap"


def test_a_kill_leaves_no_trace_and_no_half_result(links, tmp_path: Path) -> None:
    train(links, tmp_path / "whole")
    for step in (2, 5, 9):
        output = tmp_path / f"killed-{step}"
        train({"clap": links["clap"]}, output)
        with pytest.raises(Killed):
            train({"ulip": links["ulip"]}, output, progress=KillAt(step))
        with pytest.raises(UserError, match="not a finished connection"):
            ConnectedSpace.load(output)
        train(links, output)
        assert content(output) == content(tmp_path / "whole")


def test_what_another_method_left_behind_is_removed_and_what_nobody_knows_stays(links, tmp_path: Path) -> None:
    output = tmp_path / "model"
    (output / "checkpoint").mkdir(parents=True)
    for name in ("projector.safetensors", "history.parquet", "checkpoint/mine.json"):
        (output / name).write_text("{}")
    train(links, output)
    written = {"config.json", *(f"{leaf}/{name}" for leaf in links for name in FILES)}
    assert content(output).keys() == written | {"checkpoint/mine.json"}


def test_the_connected_space_keeps_the_base_and_knows_which_modality_skips_f_l(links, tmp_path: Path) -> None:
    train(links, tmp_path / "model")
    space = ConnectedSpace.load(tmp_path / "model")
    assert space.modalities == ("text", "image", "audio", "point")
    assert [space.space_of(modality) for modality in space.modalities] == ["clip", "clip", "clap", "ulip"]
    assert space.dimension == 24
    latents = unit(np.random.default_rng(9).standard_normal((30, LATENT)))
    image = embed("clip", "image", latents, 0)
    for modality in ("image", "text", None):
        assert space.project("clip", image, modality).numpy().tobytes() == image.tobytes()
    for leaf, own in (("clap", "audio"), ("ulip", "point")):
        rows = embed(leaf, own, latents, 0)
        moved, skipped = space.project(leaf, rows, own), space.project(leaf, rows, OVERLAP[leaf])
        assert (moved - skipped).abs().max() > 1e-4
        np.testing.assert_allclose(moved.norm(dim=1), 1, atol=1e-5)
        with pytest.raises(UserError, match="modality of the vectors must be known"):
            space.project(leaf, rows)
        with pytest.raises(UserError, match=f"{leaf} does not embed"):
            space.project(leaf, rows, {"clap": "point", "ulip": "audio"}[leaf])
    weights = {name for leaf in links for name in load_file(tmp_path / "model" / leaf / "projector.safetensors")}
    assert {"clap.Head1.weight", "ulip.Head2.mlp2.net2.1.running_var"} <= weights
    assert not [name for name in weights if name.startswith("clip")]
    path = tmp_path / "model" / "ulip" / "projector.safetensors"
    path.write_bytes((tmp_path / "model" / "ulip" / "projector.safetensors").read_bytes()[:-1] + b"x")
    with pytest.raises((CorruptError, UserError)):
        ConnectedSpace.load(tmp_path / "model")


def test_sets_are_taken_together_and_in_their_order(links, tmp_path: Path) -> None:
    one = {"clap": (leaf_link("clap", SETS[:1]), SETTINGS)}
    assert train(one, tmp_path / "one")["clap"].pairs == 64
    two = {"clap": (leaf_link("clap", SETS[1:]), SETTINGS)}
    assert train(two, tmp_path / "two")["clap"].pairs == 128
    assert (
        content(tmp_path / "one")["clap/projector.safetensors"]
        != content(tmp_path / "two")["clap/projector.safetensors"]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.1},
        {"noise_variance": 0.0},
        {"noise_on_base": False},
        {"intra_weight": 0.0},
        {"dense": "sum"},
        {"terms": ("overlap_overlap",)},
        {"epochs": 2},
        {"projector": DecoupledSettings(hidden=24, init="eye")},
    ],
    ids=str,
)
def test_no_setting_is_without_effect_on_the_weights(links, tmp_path: Path, change: dict[str, object]) -> None:
    rows = embed("clap", "audio", unit(np.random.default_rng(9).standard_normal((30, LATENT))), 0)
    found = []
    for settings in (SETTINGS, SETTINGS.model_copy(update=change)):
        train({"clap": (links["clap"][0], settings)}, tmp_path / "model")
        found.append(ConnectedSpace.load(tmp_path / "model").project("clap", rows, "audio"))
    assert (found[0] - found[1]).abs().max() > 1e-4


def test_errors_and_reasons_are_said(links, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(UserError, match="192 pairs, less than one batch of 500") as small:
        train({"clap": (links["clap"][0], SETTINGS.model_copy(update={"batch_size": 500}))}, tmp_path / "x")
    assert "unified/clap" in small.value.hint
    with pytest.raises(UserError, match="joins clap, clip, the connection clip, ulip"):
        train({"ulip": (links["ulip"][0].model_copy(update={"name": "clap"}), SETTINGS)}, tmp_path / "x")
    train(links, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert [(link["base"], link["name"], link["overlap"]) for link in config["links"]] == [
        ("clip", "clap", "text"),
        ("clip", "ulip", "image"),
    ]
    train({"clap": (links["clap"][0], SETTINGS.model_copy(update={"epochs": 2}))}, tmp_path / "model")
    assert "train.epochs: 3 -> 2" in caplog.text


def test_leaves_that_never_met_meet_in_the_base(tmp_path: Path) -> None:
    """Sounds and shapes share a latent that no data links; after training they find each other (chance is 0.1)."""
    settings = SETTINGS.model_copy(update={"epochs": 12, "batch_size": 128, "projector": DecoupledSettings(hidden=64)})
    for leaf in OWN:
        write_sets(tmp_path / "pairs" / "unified", leaf, rows=600)
    links = {leaf: (leaf_link(leaf), settings) for leaf in OWN}
    train(links, tmp_path / "model")
    latents = unit(np.random.default_rng(77).standard_normal((100, LATENT)))
    space = ConnectedSpace.load(tmp_path / "model")
    sounds = space.project("clap", embed("clap", "audio", latents, 50), "audio")
    shapes = space.project("ulip", embed("ulip", "point", latents, 51), "point")
    top = (sounds @ shapes.T).topk(10).indices
    assert float((top == torch.arange(100)[:, None]).any(1).float().mean()) > 0.6
