"""Damaged files of every kind where a stage meets them: it stops, mends them, or ends with the right bytes."""

import random
from collections.abc import Iterator
from functools import partial

from tests.faults.lab import Lab
from tests.faults.row import Row, Trial, said_clearly
from tests.faults.rows.mutants import mutated

FULL, QUICK = 100, 3
# By stage: files of earlier stages that it reads.
READ = {
    "encode-clip": [
        "data/shards/photos/00001.tar",
        "data/shards/captions/00001.tar",
        "data/shards/captions/_manifest.json",
    ],
    "retrieve": [
        "data/embeddings/clip/photos/image/part-00001.parquet",
        "data/embeddings/clap/sounds/audio/_manifest.json",
    ],
    "train": ["data/pairs/unified/clap/base/part-00001.parquet", "data/pairs/unified/ulip/leaf/_manifest.json"],
    "evaluate": [
        "data/models/unified/clap/projector.safetensors",
        "data/embeddings/clip/heldout/image/part-00000.parquet",
    ],
    "report": [
        "data/metrics/metrics.parquet",
        "data/shards/heldout/00000.tar",
        "data/pairs/unified/clap/base/_manifest.json",
    ],
}


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Mutants of each file that a stage reads."""
    for stage, names in READ.items():
        for name in names:
            for number in range(QUICK if quick else FULL):
                yield Trial(f"{stage}: {name} {number}", partial(attempt, stage=stage, name=name, seed=draw.random()))


def attempt(lab: Lab, stage: str, name: str, seed: float) -> list[str]:
    """Run the stage on a mutant."""
    lab.restore(stage)
    path = lab.trial / name
    path.write_bytes(mutated(path.read_bytes(), random.Random(seed)))
    outcome = lab.run(stage)
    if outcome.status:
        named = path.name in outcome.output or path.parent.name in outcome.output
        return said_clearly(outcome, (1, 2)) + ([] if named else [f"not named: {outcome.output.strip()[-300:]}"])
    found, whole = lab.results(stage), lab.reference[stage]
    # A manifest of another wording (a changed fingerprint) may be copied into what is made from it, but no number changes.
    numbers = [
        file for file in whole if not file.endswith((".json", ".md", ".html")) and found.get(file) != whole[file]
    ]
    return [f"silent: {', '.join(numbers[:3])}"] if numbers else []


def broken() -> None:
    """Shards and parts are not checked."""
    from tests.faults.rows import mutants

    mutants.broken()
    import pipeline.encode.prepare as prepare

    prepare.verify_shard = lambda folder, part: folder / part.name  # type: ignore[assignment]
    import pipeline.store.reader as reader

    reader.Store.parts = lambda self, columns=None: (  # type: ignore[method-assign,assignment,misc]
        (part, reader.read_rows(self.folder / part.name, columns)) for part in self.manifest.parts
    )


ROW = Row("damaged files at stages", ("silent", "not named", "says bug", "exit code"), trials, broken)
