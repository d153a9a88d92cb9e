"""FreeBind: its loss against slow loops in float64, and a mixture whose members learn from what their names say."""

from itertools import chain

import numpy as np
import pytest
import torch

from pipeline.connect import ProjectorSpec, build_projector
from pipeline.store import PAIRS, PartFolder, Rows, Store, write_rows
from pipeline.train.methods.freebind import FreeBind, choices
from pipeline.train.settings import FreeBindSettings
from tests.makers.links import make_link
from tests.train.methods.test_cmcr import info_nce, linear, normed, unit

WIDTHS = {"clip": 14, "clap": 10}
READ = {"clap_audio": 10, "clap_text": 10, "clip_text": 14, "clip_image": 14}
SETS = {"overlap": 24, "leaf": 18, "base": 12}
BATCH = 16
LINK = make_link("bound", base="clip", sets=tuple(SETS))
CHOICES = [("overlap",), ("leaf",), ("base",), ("overlap", "leaf"), ("overlap", "base"), ("leaf", "base"), tuple(SETS)]


@pytest.fixture
def stores(tmp_path):
    """Three sets of pairs on disk, with embeddings that nothing relates."""
    found = []
    for number, (name, count) in enumerate(SETS.items()):
        draw = np.random.default_rng(number)
        vectors = {
            column: unit(draw.standard_normal((count, width))).astype(np.float32) for column, width in READ.items()
        }
        folder = PartFolder(tmp_path / name, PAIRS, {"method": "freebind"})
        keys = [f"{name}-{row}" for row in range(count)]
        rows = Rows(keys, vectors, {})
        folder.commit("part-00000.parquet", name, keys, [], lambda path, c=rows: write_rows(path, c, {}))
        folder.finish(0.0)
        found.append(Store.open(tmp_path / name, PAIRS))
    return found


def mixture() -> dict[str, torch.nn.Module]:
    spec = ProjectorSpec(kind="mixture", input=10, hidden=12, dimension=14, members=7)
    return {"clap": build_projector(spec, "xavier", torch.Generator().manual_seed(0))}


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.2}, {"noise_variance": 0.01, "noise_scaling": "dimension"}])
def test_the_loss_is_its_definition(stores, changes):
    settings = FreeBindSettings.model_validate({"noise_variance": 0.0, "batch_statistics": "separate", **changes})
    objective = FreeBind(LINK, WIDTHS, settings)
    items = objective.prepare(objective.load(stores, "cpu"))
    heads = mixture()
    found = objective(heads, {name: rows[:BATCH] for name, rows in items.items()}, torch.Generator().manual_seed(7))
    source, expected = torch.Generator().manual_seed(7), {}
    tables = {name: np.concatenate([store.read().vectors[name] for store in stores]).astype(float) for name in READ}
    for head, choice in zip(heads["clap"].members, CHOICES, strict=True):
        rows = items["+".join(choice)][:BATCH].numpy()
        ready = []
        for column, width in READ.items():
            value = tables[column][rows]
            if settings.noise_variance:
                variance = settings.noise_variance * 512 / width
                value = value + np.sqrt(variance) * torch.randn(BATCH, width, generator=source).double().numpy()
            ready.append(unit(value))
        ours = []
        for value in ready[:2]:
            hidden = np.maximum(normed(linear(value, head.net1[0]), head.net1[1]), 0)
            ours.append(unit(normed(linear(hidden, head.net2[0]), head.net2[1])))
        each = [info_nce(one, target, settings.temperature) for one in ours for target in ready[2:]]
        expected["+".join(choice)] = sum(each) / 4
    assert tuple(found) == objective.terms == ("loss", *expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=2e-5), name
    assert found["loss"].item() == pytest.approx(sum(expected.values()), rel=2e-5)


def test_each_projector_sees_the_rows_of_its_sets_alone(stores):
    objective = FreeBind(LINK, WIDTHS, FreeBindSettings())
    items = objective.load(stores, "cpu")
    assert choices(LINK.sets) == CHOICES and list(items) == list(objective.columns)
    starts = dict(zip(SETS, np.cumsum([0, *SETS.values()]), strict=False))
    for choice in CHOICES:
        rows = items["+".join(choice)].numpy()
        known = [*chain(*(range(starts[name], starts[name] + SETS[name]) for name in choice))]
        assert len(rows) == objective.rows(stores) == sum(SETS.values())
        assert set(rows) == set(known)
        counts = np.bincount(rows)[known]
        assert counts.max() - counts.min() <= 1  # a smaller choice comes round evenly


def test_no_gradient_crosses_from_one_projector_to_another(stores):
    objective = FreeBind(LINK, WIDTHS, FreeBindSettings())
    items, heads = objective.load(stores, "cpu"), mixture()
    batch = {name: rows[:BATCH] for name, rows in items.items()}
    found = objective(heads, batch, torch.Generator().manual_seed(0))
    found["leaf"].backward()
    moved = [any(p.grad is not None and p.grad.any() for p in head.parameters()) for head in heads["clap"].members]
    assert moved == [choice == ("leaf",) for choice in CHOICES]
