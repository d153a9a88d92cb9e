"""Coupling: what is drawn at a step, the loss against float64, whole runs, and what it learns without a pair."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.connect import ConnectedSpace, ProjectorSpec, build_projector
from pipeline.errors import CorruptError, UserError
from pipeline.hashing import sha256_bytes
from pipeline.store import PAIRS, PartFolder, Rows, Store, write_rows
from pipeline.train.methods import coupling
from pipeline.train.methods.coupled import Coupled
from pipeline.train.methods.coupling import Coupling, draw_overlap, draw_pairs
from pipeline.train.run import train_connection
from pipeline.train.settings import CouplingTrainSettings, ProjectorSettings
from tests.makers.links import make_link
from tests.train.conftest import WIDTHS, World, unit
from tests.train.test_run import KillAt, Killed

MODALITY = {"clip": "image", "clap": "audio"}
OTHER = {"clip": "clap", "clap": "clip"}
HEAD = ProjectorSettings(hidden=16, dimension=12)
SETTINGS = CouplingTrainSettings(projector=HEAD, epochs=4, batch_size=40, learning_rate=3e-3)


def softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp((scores - scores.max(1, keepdims=True)) / temperature)
    return weights / weights.sum(1, keepdims=True)


def couple(samples: dict[str, np.ndarray], texts: dict[str, np.ndarray], draw: np.random.Generator, draws: int) -> dict:
    """Partners by the definition, small enough to hold all scores."""
    centred = {space: unit(rows - rows.mean(0)) for space, rows in samples.items()}
    profiles = {space: softmax(samples[space] @ texts[space].T, 0.1) @ texts[OTHER[space]] for space in WIDTHS}
    profiles = {space: unit(unit(rows) - unit(rows).mean(0)) for space, rows in profiles.items()}
    scores = profiles["clip"] @ centred["clap"].T + centred["clip"] @ profiles["clap"].T
    return {
        space: np.stack([draw.choice(len(row), draws, p=row) for row in softmax(matrix, 0.1)]).astype(np.int32)
        for space, matrix in {"clip": scores, "clap": scores.T}.items()
    }


def write(folder: Path, samples: dict, partners: dict, texts: dict, method: str = "coupling") -> Path:
    """Write pairs as the retrieve stage would, in two parts per kind."""
    spaces = {
        space: {
            "space": space,
            "spec": {"encoder": "compact", "checkpoint": f"{space}.safetensors"},
            "modalities": ["text", MODALITY[space]],
            "dimension": WIDTHS[space],
        }
        for space in WIDTHS
    }
    draws = partners["clip"].shape[1]
    made = {
        "method": method,
        "spaces": spaces,
        "overlap": "text",
        "memories": MODALITY,
        "settings": {"draws": draws},
    }
    store = PartFolder(folder, PAIRS, made)
    kinds = {
        f"{space}_{MODALITY[space]}": (
            {f"{space}_{MODALITY[space]}": samples[space]},
            {f"{OTHER[space]}_{MODALITY[OTHER[space]]}_draw_{n:02d}": partners[space][:, n] for n in range(draws)},
        )
        for space in WIDTHS
    } | {"text": ({f"{space}_text": rows for space, rows in texts.items()}, {})}
    for kind, (vectors, numbers) in kinds.items():
        count = len(next(iter(vectors.values())))
        for number, rows in enumerate(np.array_split(np.arange(count), 2)):
            keys = [f"{kind}{row}" for row in rows]
            part = Rows(keys, {n: v[rows] for n, v in vectors.items()}, {n: v[rows] for n, v in numbers.items()})
            source = sha256_bytes(b"".join(rows.tobytes() for rows in [*part.vectors.values(), *part.numbers.values()]))
            store.commit(
                f"{kind}-{number:05d}.parquet", source, keys, [], lambda path, part=part: write_rows(path, part, {})
            )
    store.finish(0.0)
    return folder


@pytest.fixture
def world():
    return World(0)


def make(
    folder: Path,
    world: World,
    count: dict[str, int],
    draws: int = 6,
    shuffle: bool = False,
    method: str = "coupling",
) -> Path:
    samples = {space: world.embed(space, world.latents(count[space]), 0.2) for space in WIDTHS}
    latents = world.latents(count["text"])
    texts = {space: world.embed(space, latents, 0.1) for space in WIDTHS}
    if shuffle:
        texts["clap"] = texts["clap"][world.draw.permutation(count["text"])]
    return write(folder, samples, couple(samples, texts, world.draw, draws), texts, method)


@pytest.fixture
def pairs(tmp_path, world):
    return make(tmp_path / "pairs", world, {"clip": 60, "clap": 80, "text": 90})


LINK = make_link("coupled", sets=("samples",))


def train(pairs: Path, output: Path, settings: CouplingTrainSettings = SETTINGS, method: str = "coupling", **changed):
    """Train on the pairs in the folder `pairs`; the one result."""
    root = output.parent / f"{output.name} pairs"
    (root / LINK.place).mkdir(parents=True, exist_ok=True)
    (root / LINK.place / "samples").unlink(missing_ok=True)
    (root / LINK.place / "samples").symlink_to(pairs)
    [result] = train_connection([(LINK, settings)], method, root, output, **{"seed": 3, **changed}).values()
    return result


def files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((output / LINK.name).iterdir())}


def objective(pairs: Path, settings: CouplingTrainSettings = SETTINGS) -> tuple[Coupling, dict[str, torch.Tensor]]:
    made = Coupling(LINK, WIDTHS, settings)
    return made, made.load((Store.open(pairs, PAIRS),), "cpu")


def test_an_item_is_a_sample_with_one_of_its_own_partners_and_all_of_them_come_up(pairs):
    made, tables = objective(pairs)
    coupled = made._coupled
    items = tables["item"]
    # 2 x 80 items: every sound once, every picture once or twice.
    assert len(items) == 160 == made.rows((Store.open(pairs, PAIRS),))
    assert np.bincount(items).tolist() == [2] * 20 + [1] * 40 + [1] * 80
    generator, seen = torch.Generator().manual_seed(0), set()
    for _ in range(60):
        first, second = draw_pairs(coupled, items, generator)
        for item, here, there in zip(items.tolist(), first.tolist(), second.tolist(), strict=True):
            own, partner, row = (here, there, item) if item < 60 else (there, here, item - 60)
            assert own == row
            assert partner in coupled.partners[0 if item < 60 else 1][row]
            seen.add((item, partner))
    expected = {(row, int(p)) for row, drawn in enumerate(coupled.partners[0]) for p in drawn}
    expected |= {(60 + row, int(p)) for row, drawn in enumerate(coupled.partners[1]) for p in drawn}
    assert seen == expected


def test_overlap_rows_of_a_step_differ_and_few_rows_come_round(pairs):
    made, _ = objective(pairs)
    rows = [draw_overlap(made._coupled, 40, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert len(set(rows[0].tolist())) == 40 and rows[0].tolist() != rows[1].tolist()
    assert np.bincount(draw_overlap(made._coupled, 200, torch.Generator().manual_seed(0))).tolist().count(3) == 20


def info_nce(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    scores = first.double() @ second.double().T / temperature
    target = torch.arange(len(scores))
    cross = torch.nn.functional.cross_entropy
    return (cross(scores, target) + cross(scores.T, target)) / 2


class Drawn:
    """Draws that a test chooses itself: partners of `rows` items and texts, in the place of the objective's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, int, int], rows: int) -> None:
        choose = np.random.default_rng(11)
        self.first, self.second, self.texts = (torch.from_numpy(choose.integers(count, size=rows)) for count in counts)
        monkeypatch.setattr(coupling, "draw_pairs", lambda *_: (self.first, self.second))
        monkeypatch.setattr(coupling, "draw_overlap", lambda *_: self.texts)


@pytest.mark.parametrize("statistics", ["joint", "separate"])
def test_the_loss_is_its_definition(pairs, statistics, monkeypatch):
    settings = SETTINGS.model_copy(
        update={"batch_statistics": statistics, "pseudo_weight": 0.7, "overlap_weight": 0.4, "noise_variance": 0.01}
    )
    made, tables = objective(pairs, settings)
    build = lambda: {  # noqa: E731
        space: build_projector(ProjectorSpec(kind="mlp", input=WIDTHS[space], hidden=16, dimension=12))
        for space in WIDTHS
    }
    batch = {"item": tables["item"][::7]}
    drawn = Drawn(monkeypatch, (60, 80, 90), len(batch["item"]))
    terms = made(build(), batch, torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(9)  # Of the noise alone: the draws are the test's.
    chosen, texts = (drawn.first, drawn.second), drawn.texts
    projected = []
    for number, projector in enumerate(build().values()):
        overlap = made._coupled.overlap[number][texts]
        noisy = overlap + torch.randn(overlap.shape, generator=generator) * 0.1
        noisy = noisy / noisy.norm(dim=1, keepdim=True)
        samples = made._coupled.samples[number][chosen[number]]  # Real samples: without noise.
        if statistics == "joint":
            projected.append(projector(torch.cat([noisy, samples])).split(len(samples)))
        else:
            projected.append((projector(noisy), projector(samples)))
    overlap = info_nce(projected[0][0], projected[1][0], 0.05)
    pseudo = info_nce(projected[0][1], projected[1][1], 0.15)
    for name, expected in {"overlap": overlap, "pseudo": pseudo, "loss": 0.4 * overlap + 0.7 * pseudo}.items():
        torch.testing.assert_close(terms[name].double(), expected, rtol=1e-5, atol=1e-6)


def test_two_runs_give_the_same_bytes_and_a_kill_leaves_no_trace(pairs, tmp_path):
    result = train(pairs, tmp_path / "a")
    assert (result.pairs, result.used, result.steps) == (160, 160, 16)
    train(pairs, tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    for step in (1, 6, 14):
        with pytest.raises(Killed):
            train(pairs, tmp_path / f"killed-{step}", progress=KillAt(step))
        assert train(pairs, tmp_path / f"killed-{step}").computed == 4 - step // 4
        assert files(tmp_path / f"killed-{step}") == files(tmp_path / "a")
    train(pairs, tmp_path / "c", seed=4)
    assert files(tmp_path / "c")["projector.safetensors"] != files(tmp_path / "a")["projector.safetensors"]
    history = pq.read_table(tmp_path / "a" / LINK.name / "history.parquet").to_pydict()
    assert list(history) == ["step", "epoch", "loss", "overlap", "pseudo", "learning_rate"]


@pytest.mark.parametrize(
    "change",
    [
        {"temperature_overlap": 0.1},
        {"temperature_pseudo": 0.1},
        {"noise_variance": 0.0},
        {"noise_scaling": "dimension"},
        {"overlap_weight": 0.1},
        {"pseudo_weight": 0.5},
        {"batch_statistics": "separate"},
        {"optimizer": "adam"},
        {"learning_rate": 1e-3},
        {"weight_decay": 0.1},
        {"warmup_steps": 3},
        {"epochs": 2},
        {"batch_size": 32},
        {"projector": HEAD.model_copy(update={"init": "eye"})},
    ],
    ids=str,
)
def test_no_setting_is_without_effect_on_the_weights(pairs, tmp_path, change):
    train(pairs, tmp_path / "base")
    train(pairs, tmp_path / "changed", SETTINGS.model_copy(update=change))
    rows = np.eye(WIDTHS["clip"], dtype=np.float32)
    base, changed = (ConnectedSpace.load(tmp_path / name).project("clip", rows) for name in ("base", "changed"))
    assert (base - changed).abs().max() > 1e-4


def test_every_table_is_read(tmp_path, pairs):
    train(pairs, tmp_path / "base")
    coupled = Coupled.load(Store.open(pairs, PAIRS), LINK, "cpu")
    for field in ("samples", "partners", "overlap"):
        for number, space in enumerate(WIDTHS):
            tables = {
                name: {s: getattr(coupled, name)[n].numpy().copy() for n, s in enumerate(WIDTHS)}
                for name in ("samples", "partners", "overlap")
            }
            tables[field][space] = np.roll(tables[field][space], 1, axis=0)
            write(tmp_path / f"{field}{number}", tables["samples"], tables["partners"], tables["overlap"])
            train(tmp_path / f"{field}{number}", tmp_path / f"model-{field}{number}")
            found = files(tmp_path / f"model-{field}{number}")["history.parquet"]
            assert found != files(tmp_path / "base")["history.parquet"]


def test_pairs_that_cannot_be_used_are_refused(pairs, tmp_path, world):
    with pytest.raises(UserError, match="160 pairs, less than one batch of 200"):
        train(pairs, tmp_path / "model", SETTINGS.model_copy(update={"batch_size": 200}))
    with pytest.raises(UserError, match="made for coupling"):
        train(pairs, tmp_path / "model", method="cmcr")
    samples = {space: world.embed(space, world.latents(9), 0.2) for space in WIDTHS}
    partners = {space: np.full((9, 2), 9, np.int32) for space in WIDTHS}
    write(tmp_path / "beyond", samples, partners, samples)
    with pytest.raises(CorruptError, match="not among the 9 rows"):
        train(tmp_path / "beyond", tmp_path / "model", SETTINGS.model_copy(update={"batch_size": 4}))
    shutil.rmtree(tmp_path / "beyond")
    write(tmp_path / "beyond", samples, {space: rows - 1 for space, rows in partners.items()}, samples)
    train(tmp_path / "beyond", tmp_path / "model", SETTINGS.model_copy(update={"batch_size": 4}))


def recall(model: Path, world: World) -> float:
    """R@10 of 200 true pairs that nothing was trained on; chance is 0.05."""
    latents = world.latents(200)
    space = ConnectedSpace.load(model)
    images, sounds = (space.project(name, world.embed(name, latents, 0.2)).numpy() for name in WIDTHS)
    top = np.argsort(-images @ sounds.T, axis=1)[:, :10]
    return float((top == np.arange(200)[:, None]).any(1).mean())


@pytest.mark.parametrize("overlap_weight", [0.5, 0.0])
def test_pictures_and_sounds_that_only_texts_connect_find_each_other(tmp_path, world, overlap_weight):
    """Without the text loss, too: then the coupled samples alone have to do it."""
    settings = CouplingTrainSettings(
        projector=ProjectorSettings(hidden=64, dimension=24),
        epochs=8,
        batch_size=256,
        learning_rate=3e-3,
        overlap_weight=overlap_weight,
    )
    count = {"clip": 800, "clap": 1024, "text": 1024}
    found = {}
    for name, shuffle in (("intact", False), ("shuffled", True)):
        train(make(tmp_path / name, world, count, 16, shuffle), tmp_path / f"model-{name}", settings)
        found[name] = recall(tmp_path / f"model-{name}", world)
    assert found["intact"] > 0.5
    assert found["shuffled"] < 0.15
