"""A small finished run on disk: what every stage before the report leaves behind, with invented numbers."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image

from pipeline.store import EMBEDDING_COLUMN, Failure, PartFolder, Rows, write_rows
from tests.makers.links import make_link

HOSTILE = '<script>alert(1)</script> "quoted" & a | bar'
GALLERY = 12
SPACES = {"clip": ("text", "image"), "clap": ("text", "audio")}
MEMORIES = {"clip_image": "photos", "clap_audio": "sounds"}
MAIN, CONTROL, ORACLE = "audio_image", "shuffled", "true_pairs"
CONNECTIONS = {
    MAIN: (make_link(MAIN),),
    CONTROL: (make_link(CONTROL),),
    ORACLE: (make_link(ORACLE, overlap="", sets=("true",)),),
}
TASKS = {"audio_image": {"audio": "heldout", "image": "heldout"}}
# Recall at 10 of each method on the mean of both directions; the other metrics are made from it.
METHODS = {
    (MAIN, "untrained"): 0.013,
    (MAIN, "procrustes"): 0.32,
    (MAIN, "two_hop_softmax"): 0.40,
    (MAIN, "bridge"): 0.655,
    (MAIN, "cmcr"): 0.66,
    (CONTROL, "cmcr"): 0.011,
    (ORACLE, "oracle"): 0.91,
}
CHANCE = {"R@1": 0.00125, "R@5": 0.00625, "R@10": 0.0125, "mAP": 0.009, "median_rank": 400.5}


def picture(number: int) -> bytes:
    """A PNG of 32 x 32."""
    pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def sound(number: int) -> bytes:
    """A FLAC of half a second."""
    time = np.arange(4000) / 8000
    stream = io.BytesIO()
    wave = 0.4 * np.sin(2 * np.pi * (200 + 150 * number) * time) * np.exp(-4 * time)
    soundfile.write(stream, wave, 8000, format="FLAC")
    return stream.getvalue()


def caption(number: int) -> str:
    """A caption; the first is hostile."""
    return HOSTILE if number == 0 else f"there is one small red metal ball number {number}"


MEMBER = {"png": picture, "flac": sound, "txt": lambda number: caption(number).encode()}


def build(data: Path) -> Path:
    """Write everything below `data` and return it."""
    for corpus, extensions in {
        "photos": ["png"],
        "sounds": ["flac"],
        "captions": ["txt"],
        "heldout": list(MEMBER),
    }.items():
        write_shards(data, corpus, extensions)
    for space, corpus, modality in (
        ("clip", "captions", "text"),
        ("clap", "captions", "text"),
        ("clip", "photos", "image"),
        ("clap", "sounds", "audio"),
    ):
        write_embeddings(data, space, corpus, modality)
    for name in CONNECTIONS:
        write_connection(data, name)
    write_metrics(data)
    return data


def keys(corpus: str) -> list[str]:
    """Keys of a corpus."""
    return [f"{corpus}-{number:03d}" for number in range(GALLERY)]


def write_shards(data: Path, corpus: str, extensions: list[str]) -> None:
    """One tar with all samples of a corpus, and one reject."""

    def write(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            for number, key in enumerate(keys(corpus)):
                for extension in extensions:
                    content = MEMBER[extension](number)
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))

    folder = PartFolder(data / "shards" / corpus, "shards", {"corpus": corpus})
    failure = Failure(f"{corpus}-bad", "decode", "SampleError", "not a picture")
    folder.commit("00000.tar", corpus, keys(corpus), [failure], write)
    folder.finish(1.0)


def space_fingerprint(space: str) -> dict[str, object]:
    """Fingerprint of a space, without the modality."""
    spec = {
        "encoder": "open_clip",
        "model": "tiny",
        "checkpoint": f"spaces/{space}.pt",
        "sha256": space[-1] * 64,
        "precision": "fp32",
    }
    return {"space": space, "spec": spec, "modalities": list(SPACES[space]), "dimension": 4}


def write_embeddings(data: Path, space: str, corpus: str, modality: str) -> None:
    """One embedding store."""
    vectors = np.random.default_rng(3).normal(size=(GALLERY, 4)).astype("<f4")
    rows = Rows(keys(corpus), {EMBEDDING_COLUMN: vectors}, {})
    fingerprint = {**space_fingerprint(space), "modality": modality, "corpus": corpus}
    folder = PartFolder(data / "embeddings" / space / corpus / modality, "embeddings", fingerprint)
    folder.commit("part-00000.parquet", "s", rows.keys, [], lambda path: write_rows(path, rows, {}))
    folder.finish(0.0)


def write_connection(data: Path, name: str) -> None:
    """Pseudo-pairs, examples of them, and a model."""
    method = "oracle" if name == ORACLE else "cmcr"
    spaces = {space: space_fingerprint(space) for space in SPACES}
    control = "shuffled_overlap" if name == CONTROL else "none"
    fingerprint = {
        "connection": name,
        "method": method,
        "spaces": spaces,
        "overlap": "text",
        "memories": {"clip": "image", "clap": "audio"},
        "settings": {"temperature": 0.01, "control": control},
        "sources": {},
        "seed": 1,
    }
    [link] = CONNECTIONS[name]
    pairs = data / "pairs" / link.place / link.sets[0]
    rows = Rows(keys("captions"), {"clip_text": np.eye(GALLERY, 4, dtype="<f4")}, {})
    folder = PartFolder(pairs, "pairs", fingerprint)
    folder.commit("part-00000.parquet", "s", rows.keys, [], lambda path: write_rows(path, rows, {}))
    folder.finish(0.0)
    neighbours = [
        {
            "query": "clip_text",
            "query_key": query,
            "memory": memory,
            "rank": rank,
            "neighbour_key": f"{corpus}-{(number + rank) % GALLERY:03d}",
            "score": 0.5 - 0.05 * rank,
            "weight": 0.5**rank,
        }
        for number, query in enumerate(keys("captions")[:7])
        for memory, corpus in MEMORIES.items()
        for rank in range(1, 6)
    ]
    write_table(pairs / "_examples.parquet", neighbours)
    model = data / "models" / name
    steps = range(240)
    history = [
        {
            "step": step,
            "epoch": step // 20,
            "overlap": 1 + 4 * np.exp(-step / 40),
            "pseudo": 2 + 3 * np.exp(-step / 60),
            "intra": 0.1 + 0.3 * np.exp(-step / 30),
            "learning_rate": 3e-3,
        }
        for step in steps
    ]
    write_table(model / link.name / "history.parquet", history)
    config = {
        "schema_version": 2,
        "method": method,
        "spaces": spaces,
        "links": [
            {
                **link.model_dump(),
                "train": {"epochs": 12, "projector": {"hidden": 256, "kind": "mlp"}},
                "pairs": "ab" * 32,
            }
        ],
        "seed": 1,
        "threads": 2,
    }
    (model / "config.json").write_text(json.dumps(config))


def write_metrics(data: Path) -> None:
    """Metrics, ranks, similarities and retrieval examples."""
    task = {"task": "audio_image", "dataset": "heldout"}
    metrics, ranks = [], []
    generator = np.random.default_rng(5)
    for (connection, method), recall in METHODS.items():
        for direction, shift in (("mean", 0.0), ("audio->image", 0.002), ("image->audio", -0.002)):
            values = {
                "R@1": recall / 4,
                "R@5": recall / 1.4,
                "R@10": recall + shift,
                "mAP": recall / 2,
                "median_rank": 400 * (1 - recall) ** 4 + 1,
            }
            for metric, value in values.items():
                spread = 0.03 * value
                interval = {"ci_low": value - spread, "ci_high": value + spread}
                row = {"connection": connection, "method": method, **task, "direction": direction, "metric": metric}
                metrics.append(row | {"value": value, **interval, "n": 800, "chance": CHANCE[metric]})
        for number in range(200):
            rank = float(min(800, 1 + generator.exponential(10 / recall**1.5)))
            row = {"connection": connection, "method": method, "task": "audio_image", "direction": "audio->image"}
            ranks.append(row | {"query_key": str(number), "rank": rank})
    write_table(data / "metrics" / "metrics.parquet", metrics)
    difference = {**task, "connection": "oracle", "method": "oracle", "against": MAIN, "direction": "mean"}
    difference |= {"metric": "R@10", "value": 0.1, "ci_low": 0.05, "ci_high": 0.15, "n": 800}
    write_table(data / "metrics" / "differences.parquet", [difference])
    write_table(data / "metrics" / "ranks.parquet", ranks)
    edges = np.linspace(-1, 1, 41)
    similarities = [
        {
            **task,
            "direction": "audio->image",
            "connection": MAIN,
            "method": method,
            "stage": stage,
            "pairs": pairs,
            "low": low,
            "high": high,
            "count": int(1000 * np.exp(-((low - centre) ** 2) / 0.03)),
        }
        for method, stage, centres in (("procrustes", "before", (0.2, 0.0)), ("cmcr", "after", (0.55, 0.1)))
        for pairs, centre in zip(("true", "random"), centres, strict=True)
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]
    write_table(data / "metrics" / "similarities.parquet", similarities)
    examples = [
        {
            "task": "audio_image",
            "connection": MAIN,
            "method": "cmcr",
            "direction": f"{source}->{target}",
            "query_key": query,
            "rank": position,
            "neighbour_key": f"heldout-{(number + position - 1 - number % 7) % GALLERY:03d}",
            "score": 0.9 - 0.04 * position,
            "relevant": position == 1 + number % 7,
            "true_rank": 1.0 + number % 7,
        }
        for source, target in (("audio", "image"), ("image", "audio"))
        for number, query in enumerate(keys("heldout")[:8])
        for position in range(1, 6)
    ]
    write_table(data / "metrics" / "examples.parquet", examples)


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    """Write plain rows as Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
