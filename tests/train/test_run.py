"""A whole run: repeatable to the byte, also after a kill; honest about what it cannot train on."""

import json
import logging
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from pipeline.connect import ConnectedSpace
from pipeline.errors import CorruptError, McrError, TryAgainError, UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.links import Link
from pipeline.train.run import TrainResult, train_connection
from pipeline.train.schedule import learning_rate
from pipeline.train.settings import ProjectorSettings, TrainSettings
from pipeline.train.steps.compiled import NotCompiled
from pipeline.train.steps.draws import DRAWS_VERSION, draws_version
from tests.makers.devices import DEVICES
from tests.makers.links import make_link
from tests.makers.trainings import KillAt, Killed
from tests.train.conftest import Pairs, unit, write_pairs

HEAD = ProjectorSettings(hidden=16, dimension=12)
SETTINGS = TrainSettings(
    projector=HEAD, epochs=4, batch_size=40, learning_rate=3e-3, temperature_overlap=0.05, temperature_pseudo=0.05
)
FILES = ("projector.safetensors", "history.parquet", "config.json")
MakePairs = Callable[..., Pairs]
LINK = make_link()


def train(
    pairs: Pairs, output: Path, settings: TrainSettings = SETTINGS, link: Link = LINK, **changed: object
) -> TrainResult:
    arguments: dict[str, object] = {"seed": 3, **changed}
    [result] = train_connection([(link, settings)], "cmcr", pairs.root, output, **arguments).values()  # type: ignore[arg-type]
    return result


def content(output: Path) -> dict[str, bytes]:
    """The files of the one link; beside its folder there is nothing but the configuration of the connection."""
    assert sorted(path.name for path in output.iterdir()) == ["clip-clap", "config.json"]
    assert sorted(path.name for path in (output / "clip-clap").iterdir()) == sorted(FILES)
    return {name: (output / "clip-clap" / name).read_bytes() for name in FILES}


@DEVICES
def test_two_runs_give_the_same_bytes_and_another_seed_others(
    make_pairs: MakePairs, tmp_path: Path, device: str
) -> None:
    pairs = make_pairs()
    torch.manual_seed(1)
    result = train(pairs, tmp_path / "a", device=device)
    torch.manual_seed(2)  # The global generator must not matter, and must not be advanced.
    state = torch.get_rng_state()
    train(pairs, tmp_path / "b", device=device)
    assert torch.equal(torch.get_rng_state(), state)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert result == TrainResult(pairs=96, used=80, epochs=4, computed=4, steps=8)
    train(pairs, tmp_path / "c", seed=4, device=device)
    assert content(tmp_path / "c")["projector.safetensors"] != content(tmp_path / "a")["projector.safetensors"]


def test_initial_weights_depend_on_seed_connection_and_space(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = make_pairs()
    still = SETTINGS.model_copy(update={"learning_rate": 1e-30, "weight_decay": 0.0, "epochs": 1})
    weights = []
    for number, (seed, name) in enumerate([(3, "x"), (4, "x"), (3, "y")]):
        output = tmp_path / str(number)
        shutil.copytree(pairs.root / "audio_image", pairs.root / name, dirs_exist_ok=True)
        train(pairs, output, still, make_link(name), seed=seed)
        tensors = load_file(output / "clip-clap" / "projector.safetensors")
        weights += [tensors[f"{space}.net2.0.weight"] for space in ("clip", "clap")]
    assert all(not torch.equal(a, b) for a, b in combinations(weights, 2))


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
@pytest.mark.parametrize("every", [1, 3])
def test_a_kill_at_any_epoch_leaves_no_trace_in_the_result(
    make_pairs: MakePairs, tmp_path: Path, every: int, optimizer: str
) -> None:
    pairs = make_pairs()
    settings = SETTINGS.model_copy(update={"checkpoint_every": every, "optimizer": optimizer})
    train(pairs, tmp_path / "whole", settings)
    for step in range(0, 8, 1 if every == 1 else 3):
        output = tmp_path / f"killed-{step}"
        with pytest.raises(Killed):
            train(pairs, output, settings, progress=KillAt(step))
        assert not (output / "config.json").exists()
        result = train(pairs, output, settings)
        saved = step // 2 // every * every
        assert result.computed == 4 - saved
        assert content(output) == content(tmp_path / "whole")


@pytest.mark.cuda
def test_a_kill_on_a_gpu_leaves_no_trace_either(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = make_pairs()
    train(pairs, tmp_path / "whole", device="cuda")
    with pytest.raises(Killed):
        train(pairs, tmp_path / "killed", device="cuda", progress=KillAt(5))
    assert train(pairs, tmp_path / "killed", device="cuda").computed == 2
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


@pytest.mark.parametrize("recorded", ["cuda fp32", None])
def test_a_training_begun_on_another_kind_of_device_is_not_finished_here(
    make_pairs: MakePairs, tmp_path: Path, recorded: str | None
) -> None:
    """`None`: a state of an earlier version, which counts as a CPU's."""
    pairs, output = make_pairs(), tmp_path / "model"
    with pytest.raises(Killed):
        train(pairs, output, progress=KillAt(5))
    path = output / "clip-clap" / "checkpoint" / "state.json"
    state = read_sealed(path)
    assert state.pop("arithmetic") == "cpu fp32"
    write_sealed(path, state | ({"arithmetic": recorded} if recorded else {}))
    if recorded:
        with pytest.raises(UserError, match="begun with cuda fp32") as caught:
            train(pairs, output)
        assert "run.device" in caught.value.hint
        shutil.rmtree(output / "clip-clap" / "checkpoint")
    assert train(pairs, output).computed == (4 if recorded else 2)


@pytest.mark.parametrize("said", [1, None])
def test_a_training_with_the_order_of_an_earlier_version_is_not_finished_with_another_one(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: int | None
) -> None:
    """On a GPU it changed: a state that does not say its order is of before. On a CPU it is the same one still."""
    pairs, output = make_pairs(), tmp_path / "model"
    with pytest.raises(Killed):
        train(pairs, output, progress=KillAt(5))
    path = output / "clip-clap" / "checkpoint" / "state.json"
    state = read_sealed(path)
    assert state.pop("draws") == 1 and draws_version("cuda:3") == draws_version("cuda") == 2
    write_sealed(path, state | ({"draws": said} if said else {}))
    monkeypatch.setitem(DRAWS_VERSION, "cpu", draws_version("cuda"))
    with pytest.raises(UserError, match="another version") as caught:
        train(pairs, output)
    assert "remove that folder" in caught.value.hint and path.is_file()
    monkeypatch.undo()
    assert train(pairs, output).computed == 2


def with_precision(precision: str) -> TrainSettings:
    return SETTINGS.model_copy(update={"precision": precision})


def test_precision_is_recorded_and_decides_only_where_it_is_named(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs, output = make_pairs(), tmp_path / "model"
    path = output / "clip-clap" / "config.json"
    train(pairs, output)
    full = content(output)
    assert json.loads(path.read_text())["links"][0]["arithmetic"] == "cpu fp32"
    assert "precision" not in path.read_text(), "a finished model of an earlier version has no such setting"
    assert train(pairs, output, with_precision("fp32")).computed == 0
    assert train(pairs, output, with_precision("bf16")).computed == 4
    short = content(output)
    assert json.loads(path.read_text())["links"][0]["arithmetic"] == "cpu bf16"
    assert short["projector.safetensors"] != full["projector.safetensors"]
    assert train(pairs, output, with_precision("auto")).computed == 0, "whatever made it, it is finished"
    assert train(pairs, output, with_precision("fp32")).computed == 4
    assert content(output) == full
    # As an earlier version left it.
    config = json.loads(path.read_text())
    del config["links"][0]["arithmetic"]
    config.pop("checksum", None)
    path.write_text(json.dumps(config))
    assert train(pairs, output).computed == 0 and train(pairs, output, with_precision("fp32")).computed == 0
    assert train(pairs, output, with_precision("bf16")).computed == 4
    assert content(output) == short


def test_a_training_begun_in_one_precision_is_not_finished_in_another(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs, output = make_pairs(), tmp_path / "model"
    train(pairs, tmp_path / "whole", with_precision("bf16"))
    with pytest.raises(Killed):
        train(pairs, output, with_precision("bf16"), progress=KillAt(5))
    with pytest.raises(UserError, match="begun with cpu bf16; this run computes with cpu fp32") as caught:
        train(pairs, output)
    assert "train.precision" in caught.value.hint
    assert train(pairs, output, with_precision("bf16")).computed == 2
    assert content(output) == content(tmp_path / "whole")


@pytest.mark.parametrize(("retry", "kind"), [(False, UserError), (True, TryAgainError)])
def test_a_compiled_training_is_not_finished_uncompiled(
    make_pairs: MakePairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    retry: bool,
    kind: type[McrError],
) -> None:
    """Nothing needs compiling to know who refuses what: here a step that counts as compiled is the plain one."""
    pairs, output = make_pairs(), tmp_path / "model"
    compiled = SETTINGS.model_copy(update={"compile": True})
    monkeypatch.setattr("pipeline.train.loop.compiled", lambda objective, *_: objective.__call__)
    train(pairs, tmp_path / "plain")
    with pytest.raises(Killed):
        train(pairs, output, compiled, progress=KillAt(5))
    monkeypatch.setattr("pipeline.train.loop.compiled", lambda *_: NotCompiled("g++ is missing", retry))
    with pytest.raises(
        McrError, match=r"begun compiled, and its step cannot be compiled now \(g\+\+ is missing"
    ) as caught:
        train(pairs, output, compiled)
    assert type(caught.value) is kind and "Put that right" in caught.value.hint
    assert "runs uncompiled" not in caplog.text
    monkeypatch.setattr("pipeline.train.loop.compiled", lambda objective, *_: objective.__call__)
    assert train(pairs, output, compiled).computed == 2
    link = json.loads((output / "clip-clap" / "config.json").read_text())["links"][0]
    assert link["arithmetic"] == "cpu fp32 compiled" and link["train"]["compile"] is True
    monkeypatch.setattr("pipeline.train.loop.compiled", lambda *_: NotCompiled("g++ is missing", retry))
    fp32 = compiled.model_copy(update={"precision": "fp32"})
    assert train(pairs, output, fp32).computed == 0, "what is complete stays valid where nothing can be compiled"
    with caplog.at_level(logging.INFO):
        assert train(pairs, output).computed == 4
    assert "train.compile" in caplog.text and content(output) == content(tmp_path / "plain")


@pytest.mark.parametrize("damaged", [False, True])
def test_a_training_begun_without_a_compiler_goes_on_uncompiled_once_there_is_one(
    make_pairs: MakePairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damaged: bool,
) -> None:
    """Unless nothing is left to go on from."""
    pairs, output = make_pairs(), tmp_path / "model"
    compiled = SETTINGS.model_copy(update={"compile": True})
    train(pairs, tmp_path / "plain")
    monkeypatch.setattr("pipeline.train.loop.compiled", lambda *_: NotCompiled("g++ is missing"))
    with pytest.raises(Killed):
        train(pairs, output, compiled, progress=KillAt(5))
    assert "cannot be compiled (g++ is missing); it runs uncompiled" in caplog.text
    caplog.clear()
    if damaged:
        (state,) = (output / "clip-clap" / "checkpoint").glob("*.safetensors")
        state.write_bytes(b"")
    monkeypatch.setattr("pipeline.train.loop.compiled", lambda objective, *_: objective.__call__)
    assert train(pairs, output, compiled).computed == (4 if damaged else 2)
    link = json.loads((output / "clip-clap" / "config.json").read_text())["links"][0]
    assert link["arithmetic"] == ("cpu fp32 compiled" if damaged else "cpu fp32") and link["train"]["compile"] is True
    assert ("was begun uncompiled and goes on so" in caplog.text) != damaged
    weights = "clip-clap/projector.safetensors"
    assert (output / weights).read_bytes() == (tmp_path / "plain" / weights).read_bytes()


def test_a_finished_result_is_left_alone_until_something_changes(
    make_pairs: MakePairs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pairs, output = make_pairs(), tmp_path / "model"
    train(pairs, output)
    before = content(output)
    written = {name: (output / "clip-clap" / name).stat().st_mtime_ns for name in FILES}
    assert train(pairs, output, SETTINGS.model_copy(update={"checkpoint_every": 2})).computed == 0
    assert "is up to date" in caplog.text
    assert written == {name: (output / "clip-clap" / name).stat().st_mtime_ns for name in FILES}
    assert train(pairs, output, SETTINGS.model_copy(update={"epochs": 3})).computed == 3
    assert "train.epochs: 4 -> 3" in caplog.text
    with pytest.raises(Killed):  # Half of a new result must not pass for the old one.
        train(pairs, output, progress=KillAt(5))
    with pytest.raises(UserError, match="not a finished connection"):
        ConnectedSpace.load(output)
    assert train(pairs, output).computed == 2
    assert content(output) == before
    turned = make_link(spaces=("clap", "clip")).model_copy(update={"name": "clip-clap"})
    assert train(pairs, output, link=turned).computed == 4
    assert ConnectedSpace.load(output).space_of("text") == "clap"
    assert train(pairs, output).computed == 4
    assert content(output) == before
    (output / "clip-clap" / "projector.safetensors").write_bytes(b"?")
    with pytest.raises(CorruptError):
        ConnectedSpace.load(output)
    assert train(pairs, output).computed == 4
    assert content(output) == before


@pytest.mark.parametrize(
    "change",
    [
        {"temperature_overlap": 0.1},
        {"temperature_pseudo": 0.1},
        {"noise_variance": 0.0},
        {"noise_scaling": "dimension"},
        {"intra_weight": 0.0},
        {"intra_norm": "squared"},
        {"overlap_weight": 0.5},
        {"pseudo_weight": 0.5},
        {"renormalise_pseudo": True},
        {"batch_statistics": "separate"},
        {"optimizer": "adam"},
        {"learning_rate": 1e-3},
        {"weight_decay": 0.1},
        {"warmup_steps": 3},
        {"epochs": 2},
        {"batch_size": 32},
        {"projector": HEAD.model_copy(update={"init": "eye"})},
        {"projector": HEAD.model_copy(update={"kind": "linear"})},
    ],
    ids=str,
)
def test_no_setting_is_without_effect_on_the_weights(
    make_pairs: MakePairs, tmp_path: Path, change: dict[str, object]
) -> None:
    pairs = make_pairs()
    train(pairs, tmp_path / "base")
    train(pairs, tmp_path / "changed", SETTINGS.model_copy(update=change))
    rows = unit(pairs.columns["clip_image"])
    base, changed = (ConnectedSpace.load(tmp_path / name).project("clip", rows) for name in ("base", "changed"))
    assert (base - changed).abs().max() > 1e-4


def test_training_reads_every_column(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = make_pairs()
    train(pairs, tmp_path / "base")
    for name, matrix in pairs.columns.items():
        other = make_pairs(name=name, **{name: np.roll(matrix, 1, axis=0)})
        train(other, tmp_path / f"model-{name}")
        assert content(tmp_path / f"model-{name}")["history.parquet"] != content(tmp_path / "base")["history.parquet"]


def test_history_and_configuration(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = make_pairs()
    train(pairs, tmp_path / "model", SETTINGS.model_copy(update={"warmup_steps": 2}), threads=2)
    history = pq.read_table(tmp_path / "model" / "clip-clap" / "history.parquet").to_pydict()
    assert list(history) == ["step", "epoch", "loss", "overlap", "pseudo", "intra", "learning_rate"]
    assert history["step"] == list(range(8))
    assert history["epoch"] == [0, 0, 1, 1, 2, 2, 3, 3]
    terms = zip(*(history[name] for name in ("overlap", "pseudo", "intra")), strict=True)
    assert history["loss"] == pytest.approx([o + p + 0.1 * i for o, p, i in terms], rel=1e-5)
    assert history["learning_rate"] == [learning_rate(step, 8, 3e-3, 2) for step in range(8)]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["schema_version"] == 2
    assert list(config["spaces"]) == ["clip", "clap"]
    assert config["spaces"]["clip"] == {
        "space": "clip",
        "spec": {"encoder": "compact", "checkpoint": "clip.safetensors"},
        "modalities": ["text", "image"],
        "dimension": 24,
        "batch_size": 8,
    }
    assert config["projectors"]["clap"] == {"kind": "mlp", "input": 20, "hidden": 16, "dimension": 12}
    assert (config["seed"], config["threads"]) == (3, 2)
    [link] = config["links"]
    assert (link["name"], link["base"], link["overlap"], link["queries"]) == ("clip-clap", "", "text", ["captions"])
    assert link["memories"]["clap"] == {"modality": "audio", "corpora": ["sounds"]}
    assert link["train"]["temperature_overlap"] == 0.05


def test_learning_rate_rises_then_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, 12, 1.0, 2) for step in range(12)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[7] == pytest.approx(0.5)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.03
    assert learning_rate(3, 4, 1.0, 9) == pytest.approx(0.4)


def test_errors_say_what_to_do(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = make_pairs(count=30)
    with pytest.raises(UserError, match="30 pairs, less than one batch of 40") as small:
        train(pairs, tmp_path / "model")
    assert "30 or less" in small.value.hint
    with pytest.raises(UserError, match="made for cmcr"):
        train_connection([(LINK, SETTINGS)], "oracle", pairs.root, tmp_path / "model")
    other = make_link(spaces=("clip", "ulip"), memories={"clip": "image", "ulip": "point"})
    with pytest.raises(UserError, match="joins clap, clip, the connection clip, ulip"):
        train(pairs, tmp_path / "model", link=other.model_copy(update={"name": "clip-clap"}))
    with pytest.raises(UserError, match="other modalities"):
        train(pairs, tmp_path / "model", link=make_link(memories={"clip": "image", "clap": "point"}))
    with pytest.raises(UserError, match=r"no _manifest\.json"):
        train_connection([(LINK, SETTINGS)], "cmcr", tmp_path / "nothing", tmp_path / "model")
    columns = {name: matrix for name, matrix in pairs.columns.items() if name != "clap_audio"}
    write_pairs(tmp_path / "short" / LINK.place / "overlap", columns)
    few = SETTINGS.model_copy(update={"batch_size": 8})
    with pytest.raises(CorruptError, match="clap_audio"):
        train_connection([(LINK, few)], "cmcr", tmp_path / "short", tmp_path / "model")
    assert not (tmp_path / "model").exists() or not list((tmp_path / "model").iterdir())


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = make_pairs()
    with pytest.raises(UserError, match=r"not finite from step [1-7] of 8") as stopped:
        train(pairs, tmp_path / "model", SETTINGS.model_copy(update={"learning_rate": 1e38}))
    assert "learning_rate" in stopped.value.hint
    assert not (tmp_path / "model" / "config.json").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_connection_transfers_to_the_pair_that_was_never_joined(
    make_pairs: MakePairs, tmp_path: Path, precision: str
) -> None:
    """Images and sounds share a latent that only texts connect; after training they find each other."""
    pairs = make_pairs(count=1024)
    settings = SETTINGS.model_copy(
        update={
            "projector": ProjectorSettings(hidden=64, dimension=24),
            "epochs": 12,
            "batch_size": 256,
            "noise_scaling": "none",
            "precision": precision,
        }
    )
    train(pairs, tmp_path / "model", settings)
    latents = pairs.world.latents(200)
    vectors = {space: pairs.world.embed(space, latents, 0.2) for space in ("clip", "clap")}
    space = ConnectedSpace.load(tmp_path / "model")
    images, sounds = (space.project(name, vectors[name]).numpy() for name in ("clip", "clap"))
    top = np.argsort(-images @ sounds.T, axis=1)[:, :10]
    recall = float((top == np.arange(200)[:, None]).any(1).mean())
    assert recall > 0.5  # Chance is 0.05.
    # The bridge is what does it: with the texts of one space shuffled, recall falls to chance.
    shuffled = pairs.world.draw.permutation(1024)
    broken = make_pairs(
        count=1024, name="broken", **{name: pairs.columns[name][shuffled] for name in ("clap_text", "clap_audio")}
    )
    train(broken, tmp_path / "broken-model", settings)
    space = ConnectedSpace.load(tmp_path / "broken-model")
    images, sounds = (space.project(name, vectors[name]).numpy() for name in ("clip", "clap"))
    top = np.argsort(-images @ sounds.T, axis=1)[:, :10]
    assert float((top == np.arange(200)[:, None]).any(1).mean()) < 0.15
    assert np.allclose(unit(images), images, atol=1e-5)
