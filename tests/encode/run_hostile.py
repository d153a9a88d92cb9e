"""A process of its own, so that its peak memory is its own: shard and encode each modality of a folder.

    python -m tests.encode.run_hostile RAW OUT

Prints as JSON: rows and rejects by key for each modality, and the peak memory in bytes before and after.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.shard.sources.options import SourceOptions
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import AudioSettings, ImageSettings, PointSettings, TextSettings
from pipeline.store import read_embeddings
from tests.shard.makers import cloud, npy, picture, sound

TOWERS = {
    "text": TextSettings(("caption",)),
    "image": ImageSettings(),
    "audio": AudioSettings(),
    "point": PointSettings(),
}
EXAMPLES = {"text": b"caption", "image": picture(0), "audio": sound(0), "point": npy(cloud(0))}


def peak() -> int:
    """Largest resident memory of this process so far, in bytes."""
    # Not ru_maxrss of getrusage, which begins with what the parent had when it started us.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main(raw: Path, out: Path) -> None:
    torch.set_num_threads(1)
    save_compact(out / "space", CompactModel(8, TOWERS))
    spec = SpaceSpec("compact", str(out / "space"))
    space = load_space(spec)
    for modality, example in EXAMPLES.items():
        space.encode(modality, space.preprocess(modality, example)[None])
    before = peak()
    found = {}
    for modality in TOWERS:
        shards, stores = out / "shards" / modality, out / "stores"
        source, kind = (raw / "pictures.tar", "webdataset") if modality == "image" else (raw, "folder")
        options = SourceOptions((modality,), kind)
        build_shards(source, shards, ShardSettings((modality,), 40, "error", 0.5), Silent(), options)
        encode_corpus(space, "compact", spec, shards, stores, EncodeSettings(16, 2, 0.5), Silent())
        keys, embeddings = read_embeddings([stores / modality])
        assert np.isfinite(embeddings).all()
        failures = [pd.read_parquet(folder / "_failures.parquet") for folder in (shards, stores / modality)]
        found[modality] = {
            "rows": keys,
            "shard": dict(zip(failures[0].key, failures[0].message, strict=True)),
            "encode": dict(zip(failures[1].key, failures[1].message, strict=True)),
        }
    print(json.dumps({"found": found, "before": before, "after": peak()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
