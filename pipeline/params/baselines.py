"""Baselines that a task cannot have: they are known to fail before any work."""

from collections.abc import Iterator

from pipeline.params.model import Params


def baseline_problems(params: Params) -> Iterator[str]:
    """All tasks whose `baselines` name a connection without unpaired data of both of the task's modalities."""
    for name, task in params.evaluate.tasks.items():
        if task.baselines not in params.connections:
            continue  # none, or a name that is reported elsewhere
        links = params.links[task.baselines]
        fitting = [link for link in links if link.overlap and set(task.pair) <= link.modalities]
        if any(link.queries and all(memory.corpora for memory in link.memories.values()) for link in fitting):
            continue
        where, pair = f"evaluate.tasks.{name}.baselines = {task.baselines!r}", " and ".join(task.pair)
        if fitting:
            yield f"{where}: the connection reads no data of {pair}; name one that does, or leave `baselines` out"
            continue
        held = "; or ".join(" and ".join(sorted(link.modalities)) for link in links)
        overlaps = "" if all(link.overlap for link in links) else ", and it has no overlapping modality"
        yield (
            f"{where}: its memories hold {held}{overlaps}, and the task compares {pair}; name a connection whose two "
            "memories hold both, or leave `baselines` out"
        )
