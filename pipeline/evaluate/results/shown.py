"""What the report shows of a task besides its numbers: examples, and the cosines of true and of random pairs."""

import numpy as np

from pipeline.evaluate.contenders import Contender
from pipeline.evaluate.ranking.counting import Counts
from pipeline.evaluate.ranking.metrics import best_rank
from pipeline.evaluate.results.tables import Tables
from pipeline.evaluate.sets.items import EvaluationSet
from pipeline.evaluate.settings import RetrievalTask
from pipeline.evaluate.views import Views
from pipeline.hashing import seed_from

NEIGHBOURS = 5
BINS = np.linspace(-1.0, 1.0, 81)
# The linear map says what was possible before training; without one, the raw cosine.
BEFORE = ("unprojected", "procrustes")


def add_examples(
    name: str,
    task: RetrievalTask,
    contender: Contender,
    evaluation: EvaluationSet,
    views: Views,
    counts: tuple[Counts, Counts],
    examples: int,
    tables: Tables,
) -> None:
    """The nearest gallery items of evenly spread queries, both directions."""
    for at, (queries, gallery) in enumerate(views.directions):
        query_side, gallery_side = evaluation.sides[at], evaluation.sides[1 - at]
        chosen = np.unique(np.linspace(0, len(queries) - 1, examples).round().astype(np.int64))
        ranks = best_rank(counts[at])
        for query in chosen:
            scores = gallery @ queries[query]
            top = np.argsort(-scores, kind="stable")[:NEIGHBOURS]
            tables.add(
                "examples",
                {
                    "task": name,
                    "dataset": task.corpus,
                    "connection": contender.connection,
                    "method": contender.name,
                    "direction": task.directions[at],
                    "query_key": query_side.keys[query],
                    "rank": np.arange(1, len(top) + 1),
                    "neighbour_key": [gallery_side.keys[row] for row in top],
                    "score": scores[top].astype(np.float64),
                    "relevant": gallery_side.groups[top] == query_side.groups[query],
                    "true_rank": ranks[query],
                },
            )


def add_similarities(
    name: str,
    task: RetrievalTask,
    contender: Contender,
    evaluation: EvaluationSet,
    views: Views,
    seed: int,
    tables: Tables,
) -> None:
    """Histograms of the cosine of true pairs and of random ones: before training (linear) and after."""
    if not (contender.trained or contender.name in BEFORE):
        return
    first, second = views.forward
    partners = evaluation.positives.columns[:, 0]
    drawn = np.random.default_rng(seed_from(seed, name, "random pairs")).integers(len(second), size=len(first))
    # A draw that hits the item itself moves on to a neighbour; a single item has no random partner.
    same = evaluation.sides[1].groups[drawn] == evaluation.sides[0].groups
    drawn = np.where(same, (drawn + 1) % len(second), drawn)
    kept = evaluation.sides[1].groups[drawn] != evaluation.sides[0].groups
    pairs = {"true": (first, second[partners]), "random": (first[kept], second[drawn[kept]])}
    for kind, (left, right) in pairs.items():
        cosines = np.clip(np.einsum("ij,ij->i", left, right, dtype=np.float64), -1, 1)
        tables.add(
            "similarities",
            {
                "task": name,
                "dataset": task.corpus,
                "connection": contender.connection,
                "method": contender.name,
                "direction": task.directions[0],
                "stage": "after" if contender.trained else "before",
                "pairs": kind,
                "low": BINS[:-1],
                "high": BINS[1:],
                "count": np.histogram(cosines, BINS)[0],
            },
        )
