"""Everything that the page asks: search, more like this, a map, and what pseudo-pairs are made of."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.connect.embed import embed_payloads
from pipeline.errors import UserError, choice
from pipeline.explore import answers
from pipeline.explore.asked import Asked, Opened
from pipeline.explore.index import Found, Place
from pipeline.explore.isolated_space import share_frozen_spaces
from pipeline.explore.plane import plane
from pipeline.explore.samples import Samples
from pipeline.links import store_folder
from pipeline.names import name_problem
from pipeline.precision import multiplying
from pipeline.store.manifest import MANIFEST_NAME

MOST_ON_MAP = 4000
QUERY = "The query"  # what messages call it


class Explorer:
    """Answers about the connections of a project. Not for several threads at a time.

    Args:
        connections: By name.
        embeddings: Folder of all stores.
        samples: Reads what the corpora hold.
    """

    def __init__(self, connections: Mapping[str, Opened], embeddings: Path, samples: Samples) -> None:
        self.connections, self.samples, self._embeddings = dict(connections), samples, embeddings
        self._decoders = share_frozen_spaces([opened.space for opened in connections.values()])
        self._corpora = {name: self._stores(opened) for name, opened in self.connections.items()}

    def close(self) -> None:
        """End the processes that decode."""
        self._decoders.close()

    def facts(self) -> tuple[answers.ConnectionFacts, ...]:
        """What can be asked of each connection."""
        return tuple(
            answers.ConnectionFacts(
                name=name,
                label=opened.label,
                queries=opened.space.modalities,
                corpora={
                    modality: tuple(dict.fromkeys(place.corpus for place in places))
                    for modality, places in self._corpora[name].items()
                },
                dimension=opened.space.dimension,
            )
            for name, opened in self.connections.items()
        )

    def search(self, asked: Asked, request: answers.Search) -> answers.Results:
        """What each connection finds.

        Raises:
            UserError: The query cannot be used, or there is nothing to search.
            CorruptError: A store is damaged.
        """
        found = []
        for name in request.connections:
            opened, started = self._opened(name), time.perf_counter()
            places = self._places(name, request.into, request.corpora)
            query, through = self._embedded(name, asked)
            near = opened.index.nearest(query, places, request.count + 1)
            results = [item for item in near if not _is_same(item, asked.item)][: request.count]
            spent = round(1000 * (time.perf_counter() - started), 1)
            scored = tuple(self._scored(item) for item in results)
            found.append(answers.Found(connection=name, through=through, milliseconds=spent, results=scored))
        return answers.Results(modality=asked.modality, found=tuple(found))

    def partners(self, asked: Asked, request: answers.Partners) -> answers.PartnersOf:
        """Of every memory: the items that the partner of a query is an average of, and their weights.

        Raises:
            UserError: The query cannot be used.
        """
        opened = self._opened(request.connection)
        memories = []
        for link in opened.links if opened.temperature else ():
            if asked.modality != link.overlap or asked.item:
                continue
            for space, memory in link.memories.items():
                query = embed_payloads(opened.space.frozen_space(space), link.overlap, [asked.payload], [QUERY])[0]
                found = self._weighted(opened, space, memory.modality, memory.corpora, query, request.count)
                memories.append(
                    answers.Memory(link=link.name, space=space, temperature=opened.temperature, results=found)
                )
        overlaps = " or ".join(dict.fromkeys(link.overlap for link in opened.links if link.overlap))
        note = ""
        if not opened.temperature:
            note = f"{opened.label} does not average: there are no weights to show."
        elif not memories:
            note = f"Pseudo-pairs of {request.connection} are made from {overlaps}: ask with one."
        return answers.PartnersOf(memories=tuple(memories), note=note)

    def map(self, name: str) -> answers.Map:
        """A sample of everything that a connection holds, on a plane.

        Raises:
            UserError: There is no such connection, or no store of it.
        """
        opened = self._opened(name)
        places = [place for each in self._corpora[name].values() for place in each]
        if not places:
            raise UserError(f"{name} has nothing to show.", "Run `dvc repro`, or `dvc pull`, then `mcr serve` again.")
        galleries = [opened.index.gallery(place) for place in places]
        most = max(1, MOST_ON_MAP // max(1, len(galleries)))
        rows = [torch.linspace(0, len(each.keys) - 1, min(most, len(each.keys))).long() for each in galleries]
        groups = [each.vectors[chosen] for each, chosen in zip(galleries, rows, strict=True)]
        points, explained = plane(groups, [each.modality for each in galleries])
        items = [
            answers.Item(corpus=each.corpus, shard=each.shard_of(row), key=each.keys[row], modality=each.modality)
            for each, chosen in zip(galleries, rows, strict=True)
            for row in chosen.tolist()
        ]
        shown = tuple(
            answers.Place(x=round(x, 4), y=round(y, 4), item=item)
            for (x, y), item in zip(points.tolist(), items, strict=True)
        )
        return answers.Map(connection=name, explained=round(explained, 4), places=shown)

    def _opened(self, name: str) -> Opened:
        if name not in self.connections:
            raise UserError(f"There is no connection {name!r}.", choice(name, self.connections))
        opened = self.connections[name]
        if not opened.is_current:
            raise UserError(
                f"{name} was trained again, or removed, since `mcr serve` started.",
                "Stop it with Ctrl-C and start it again.",
            )
        return opened

    def _stores(self, opened: Opened) -> dict[str, list[Place]]:
        """By modality the stores that exist, those that the connection was made from first; of each corpus one: as the
        project says, or else by the first space of the connection that embeds it."""
        made_from = [
            Place(space, corpus, memory.modality)
            for link in opened.links
            for space, memory in link.memories.items()
            for corpus in memory.corpora
        ]
        others = [
            Place(space, *manifest.parts[-3:-1])
            for space in opened.space.config.spaces
            for manifest in sorted((self._embeddings / space).glob(f"*/*/{MANIFEST_NAME}"))
        ]
        found: dict[str, dict[str, Place]] = {}
        for place in (*made_from, *others):
            # What has no name of ours is a copy that somebody keeps, such as photos.old.
            if not name_problem(place.corpus) and (store_folder(self._embeddings, *place) / MANIFEST_NAME).is_file():
                found.setdefault(place.modality, {}).setdefault(place.corpus, place)
        return {modality: list(places.values()) for modality, places in found.items()}

    def _places(self, name: str, modality: str, corpora: Sequence[str]) -> list[Place]:
        held = self._corpora[name].get(modality, [])
        places = [place for place in held if not corpora or place.corpus in corpora]
        if not places:
            kinds = ", ".join(self._corpora[name]) or "nothing"
            raise UserError(f"{name} has no {modality} to search there.", f"It has {kinds}.")
        return places

    def _embedded(self, name: str, asked: Asked) -> tuple[Tensor, str]:
        """The query in the connected space [E], and the frozen space that it went through."""
        opened = self._opened(name)
        if asked.item is None:
            through = opened.space.space_of(asked.modality)
            return opened.space.embed(asked.modality, [asked.payload], names=[QUERY])[0], through
        for place in self._places(name, asked.modality, [asked.item.corpus]):
            gallery = opened.index.gallery(place)
            if (row := gallery.row_of(asked.item.key)) is not None:
                return gallery.vectors[row], place.frozen
        raise UserError(f"There is no {asked.item.key} in {asked.item.corpus}.", "Search again.")

    @multiplying()
    def _weighted(
        self, opened: Opened, space: str, modality: str, corpora: Sequence[str], query: Tensor, count: int
    ) -> tuple[answers.Scored, ...]:
        galleries = [opened.index.frozen(Place(space, corpus, modality)) for corpus in corpora]
        scores = torch.cat([(each.vectors @ query[:, None])[:, 0] for each in galleries])
        weights = torch.softmax(scores / opened.temperature, 0)
        best = torch.topk(weights, min(count, len(weights)))
        items = []
        for row, weight in zip(best.indices.tolist(), best.values.tolist(), strict=True):
            for gallery in galleries:
                if row < len(gallery.keys):
                    found = Found(gallery.corpus, modality, gallery.keys[row], weight, gallery.shard_of(row))
                    items.append(self._scored(found))
                    break
                row -= len(gallery.keys)
        return tuple(items)

    def _scored(self, item: Found) -> answers.Scored:
        return answers.Scored(
            corpus=item.corpus,
            shard=item.shard,
            key=item.key,
            modality=item.modality,
            score=round(item.score, 6),
            caption=self.samples.caption(item.corpus, item.shard, item.key),
        )


def _is_same(found: Found, item: answers.Item | None) -> bool:
    return bool(item) and (found.corpus, found.key, found.modality) == (item.corpus, item.key, item.modality)  # type: ignore[union-attr]
