"""What the sweep over methods measures beside the tables of the evaluation: cost, a mixed gallery, paired differences.

Run in the folder of a project whose stores are there, it makes pairs and projectors of all its connections by the commands of the
project, each with the CPU seconds that it took, and evaluates them.

    python -m benchmarks.all.methods
"""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.connect.spreads import load_kept
from pipeline.evaluate.results.bootstrap import Sample, interval, resample
from pipeline.links import store_folder
from pipeline.params.load import load_params
from pipeline.store import read_placed

METRICS_AT = (1, 10)
COSTS = "cpu_seconds.json"


def make_all() -> None:
    """Pairs, projectors and metrics; a connection that has its seconds is not made again."""
    from typer.testing import CliRunner

    from stages.cli import app

    def mcr(*arguments: str) -> float:
        since = time.process_time()
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        if done.exit_code:
            raise SystemExit(done.output)
        return time.process_time() - since

    costs = json.loads(Path(COSTS).read_text()) if Path(COSTS).is_file() else {}
    mcr("check")  # What is imported once is nobody's cost.
    for name in load_params(Path("params.yaml")).connections:
        if name not in costs:
            costs[name] = {stage: round(mcr(stage, name), 1) for stage in ("retrieve", "train")}
            Path(COSTS).write_text(json.dumps(costs))
            print(name, costs[name], flush=True)
    mcr("evaluate")


def connected(folder: Path) -> dict[str, dict[str, float]]:
    """CPU seconds of both stages by connection, as `make_all` left them in `folder`."""
    found: dict[str, dict[str, float]] = json.loads((folder / COSTS).read_text())
    return found


def mixed(folder: Path, k: int = 10) -> dict[str, dict[str, float]]:
    """How a sound finds its picture in one gallery of all pictures and all other sounds, by connection.

    Returns:
        ``found``: the share of sounds that have it among the first `k`; ``images``: the share of pictures among those k. Queries are
        masked (`across`) where frozen spaces are kept.
    """
    made: dict[str, dict[str, float]] = {}
    embeddings = folder / "data/embeddings"
    for name, connection in load_params(folder / "params.yaml").connections.items():
        links = connection.links(name)
        if not {"image", "audio"} <= {kind for link in links for kind in link.modalities}:
            continue
        space = load_kept(folder / "data/models" / name, links, embeddings)
        sides = {}
        for modality, frozen in (("image", "clip"), ("audio", "clap")):
            keys, rows = read_placed([store_folder(embeddings, frozen, "heldout", modality)])
            order = np.argsort(keys)
            sides[modality] = [
                space.project(frozen, rows[order], modality, across).numpy() for across in (False, bool(space.keep))
            ]
        gallery, asked = np.concatenate([sides["image"][0], sides["audio"][0]]), sides["audio"][1]
        count, scores = len(asked), asked @ gallery.T
        here = np.arange(count)
        scores[here, count + here] = -np.inf  # the query itself
        ahead = (scores > scores[here, here][:, None]).sum(1)
        first = np.argsort(-scores, axis=1)[:, :k]
        made[name] = {"found": float((ahead < k).mean()), "images": float((first < count).mean())}
    return made


def paired(ranks: pd.DataFrame, task: str, against: str) -> pd.DataFrame:
    """Recall of every row of `task` less that of `against`, with its 95 % interval over the items of all seeds.

    Args:
        ranks: Of all seeds, with a column `seed`.
        task: Of the evaluation.
        against: A connection of it, or connection and method (``audio_image bridge``).
    """
    ranks = ranks[(ranks.task == task) & ~ranks.method.str.endswith("_hubs") & (ranks.method != "frozen")]
    items = ranks.groupby(["seed", "item"]).ngroup()
    found = []
    for k in METRICS_AT:
        names, measures = [], []
        for (connection, method), rows in ranks.groupby(["connection", "method"], sort=False):
            ways = rows.groupby("direction")
            names.append((connection, method))
            measures.append(
                [Sample((way["rank"] <= k).to_numpy(float), items[way.index].to_numpy()) for _, way in ways]
            )
        drawn = resample(measures, int(items.max()) + 1, 2000, 0)
        place = next(at for at, each in enumerate(names) if against in (each[0], " ".join(each)))
        value = [float(np.mean([sample.value() for sample in each])) for each in measures]
        for (connection, method), one, other in zip(names, value, drawn, strict=True):
            low, high = interval(other - drawn[place])
            found.append((connection, method, f"R@{k}", against, 100 * (one - value[place]), 100 * low, 100 * high))
    return pd.DataFrame(found, columns=["connection", "method", "metric", "against", "difference", "from", "to"])


if __name__ == "__main__":
    make_all()
