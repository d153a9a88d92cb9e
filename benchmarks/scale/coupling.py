"""Coupling and joint coupling over many texts and samples: seconds, and how much memory is taken, on the host and on the GPU.

The embeddings of both spaces are drawn at random, in stores on disk as `mcr encode` writes them. Then the retrieve stage gives every sample its
partners, and the train stage trains one epoch on them; joint coupling trains on the same partners.

    python benchmarks/scale/coupling.py --texts 1000000 --samples 1000000 --dimension 512 --folder /somewhere/large
    python benchmarks/scale/coupling.py --texts 2000 --samples 1000000 --sounds 2000 --dimension 512 --width 64 --device cpu

Both memories and all texts lie on the device, so that its memory grows with them; time grows with the products of two of the three.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.scale.bridge import LINK, write_stores
from pipeline.progress import Silent
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.pseudo_pairs import write_pairs
from pipeline.retrieve.settings import CouplingRetrieveSettings, WitnessedRetrieveSettings
from pipeline.settings import Settings
from pipeline.train.run import train_connection
from pipeline.train.settings import CouplingTrainSettings, JointTrainSettings, ProjectorSettings

COUPLING, JOINT = "coupling", "joint_coupling"
SETTINGS = {
    COUPLING: (CouplingRetrieveSettings, CouplingTrainSettings),
    JOINT: (WitnessedRetrieveSettings, JointTrainSettings),
}


def measure(folder: Path, method: str, given: argparse.Namespace) -> dict[str, float]:
    """Seconds of both stages of `method` over the stores in `folder`, and the most memory up to the end of each, in MB."""
    retrieve, train = SETTINGS[method]
    link = LINK.model_copy(update={"connection": method, "sets": ("samples",)})
    found: dict[str, float] = {}

    def timed(what: str, since: float) -> None:
        name = f"{method}, {what}"
        found[f"{name} s"] = time.perf_counter() - since
        found[f"{name} MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        if given.device != "cpu":
            found[f"{name} MB of the GPU"] = torch.cuda.max_memory_allocated() / 1e6
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        print(", ".join(f"{key} {value:,.1f}" for key, value in found.items() if key.startswith(name)), flush=True)

    pairs = folder / "pairs"
    since, wanted = time.perf_counter(), PairSet(link, method, retrieve(), 0, folder / "embeddings", "samples")
    write_pairs(wanted, pairs / link.place / "samples", given.device, given.threads, 0.0, Silent())
    timed("retrieve", since)
    since, settings = time.perf_counter(), schedule(train, given)
    train_connection([(link, settings)], method, pairs, folder / method, threads=given.threads, device=given.device)
    timed("train an epoch", since)
    return found


def schedule(train: type[Settings], given: argparse.Namespace) -> Settings:
    """One epoch."""
    head = ProjectorSettings(hidden=2 * given.width, dimension=given.width)
    return train(projector=head, epochs=1, batch_size=given.batch)


def main() -> None:
    """Make the stores, run the stages, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--sounds", type=int, help="samples of the second memory, if there are fewer or more")
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument(
        "--width", type=int, default=256, help="of the space that is trained; it decides how long that takes"
    )
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--methods", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--folder", type=Path, help="Where to work; by default a temporary folder.")
    parser.add_argument("--json", type=Path, help="Write the results to this file.")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder, since = Path(name), time.perf_counter()
        write_stores(folder / "embeddings", given)
        print(f"stores: {time.perf_counter() - since:.1f} s", flush=True)
        for method in given.methods:
            found |= measure(folder, method, given)
    if given.json:
        asked = {
            name: getattr(given, name)
            for name in ("texts", "samples", "sounds", "dimension", "width", "batch", "device")
        }
        rounded = {name: round(value, 1) for name, value in found.items()}
        given.json.write_text(json.dumps(asked | rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
