"""One part of an embedding store as a unit of work: a shard is read, decoded, embedded and written."""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.encode.ahead import short_turns
from pipeline.encode.batches import Batch, stacked_batches
from pipeline.encode.decoders import THREADS
from pipeline.encode.fitting import FittingEncoder
from pipeline.encode.in_flight import in_flight
from pipeline.encode.prepare import Chunk, prepared_chunks, prepared_one_by_one
from pipeline.progress import Progress, Silent
from pipeline.spaces import Space, SpaceSpec, load_space
from pipeline.store import EMBEDDING_COLUMN, Failure, Made, Part, Rows, Work, write_rows
from pipeline.store.kept import kept
from pipeline.store.parts.work import Record, write_part
from pipeline.store.reader import NORM_TOLERANCE


@dataclass(frozen=True)
class EncodeSettings:
    """How a space is run over a corpus.

    Attributes:
        batch_size: Samples per forward pass; 0: as many as an earlier run recorded, or else found out by timing.
        workers: How many samples are decoded at the same time, while the model computes.
        max_rejected: Largest share of rejected samples, from 0 to 1.
        device: Where the space computes.
        decode: Where samples are decoded, see `decoded_apart`.
        options: What the corpus has in place of options of the space, see `prepared_for`.
        store_as: Type of the numbers in the store: ``float32``, or ``float16`` in half the bytes.
    """

    batch_size: int
    workers: int
    max_rejected: float
    device: str = "cpu"
    decode: str = THREADS
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    store_as: str = "float32"


class Encoding:
    """What the parts of one store have in common. Pickled without the space, which another process loads for itself and keeps.

    Args:
        spec: The frozen space.
        modality: What of the samples is embedded.
        shards: Folder of the shards.
        settings: How the space is run.
        fingerprint: What each part says about how it was made.
        space: The space, loaded; None: it is loaded where it is needed.
    """

    def __init__(
        self,
        spec: SpaceSpec,
        modality: str,
        shards: Path,
        settings: EncodeSettings,
        fingerprint: dict[str, object],
        space: Space | None = None,
    ) -> None:
        self.spec, self.modality, self.shards = spec, modality, shards
        self.settings, self.fingerprint = settings, fingerprint
        self._encoder = FittingEncoder(space, modality) if space else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoder": None}

    @property
    def encoder(self) -> FittingEncoder:
        """The space of this process; what it learned about the memory of the device, it keeps from part to part."""
        if not self._encoder:
            where = (self.spec, self.settings.device)
            space = kept("space", where, lambda: load_space(*where))
            self._encoder = kept("encoder", (*where, self.modality), lambda: FittingEncoder(space, self.modality))
        return self._encoder

    def chunks(self, shards: Iterable[Part], passed_over: Collection[str] = ()) -> Generator[Chunk, None, None]:
        """The samples of `shards` without those in `passed_over`, decoded ahead of whoever takes them."""
        how = self.settings
        return prepared_chunks(
            self.encoder.space,
            self.modality,
            self.shards,
            shards,
            how.workers,
            how.batch_size,
            how.decode,
            how.device,
            passed_over,
        )

    def embed(self, chunks: Iterable[Chunk], progress: Progress) -> "EmbeddedShard":
        """Embed the samples of one shard."""
        how, shard = self.settings, EmbeddedShard()
        waiting: deque[tuple[Batch, Callable[[], Tensor]]] = deque()
        with closing(stacked_batches(chunks, how.batch_size, how.device)) as batches:
            for batch in batches:
                started = perf_counter()
                waiting.append((batch, self.encoder.begin(batch.samples)))
                while len(waiting) > in_flight(how.device):
                    shard.add(*waiting.popleft())
                progress.advance(
                    len(batch.keys) + len(batch.rejected),
                    read=batch.read, decode=batch.decode / how.workers, compute=perf_counter() - started,
                )  # fmt: skip
            for each in waiting:
                shard.add(*each)
        return shard

    def reading_ahead(self, folder: Path, works: Iterable[Work], progress: Progress) -> Generator[Record, None, None]:
        """How one process makes parts: while one is computed, the next is read and the last one written."""
        taken: deque[Work] = deque()
        passed_over: set[str] = set()  # of all parts so far: a key is in one of them only

        def shards() -> Iterator[Part]:
            for work in works:
                make = cast(EncodedShard, work.make)
                passed_over.update(make.left_out)
                taken.append(work)
                yield make.shard

        with (
            short_turns(),
            closing(self.chunks(shards(), passed_over)) as chunks,
            ThreadPoolExecutor(1, "write") as writer,
        ):
            written: Future[tuple[Record, float]] | None = None
            try:
                for _, own in groupby(chunks, key=lambda chunk: chunk.shard.name):
                    work = taken.popleft()
                    embedded = self.embed(own, progress)
                    if written:
                        yield _told(written, progress)
                    written = writer.submit(_timed, folder, work, embedded)
            except (Exception, KeyboardInterrupt):
                if written:  # What is done before the error counts.
                    yield _told(written, progress)
                raise
            if written:
                yield _told(written, progress)


class EmbeddedShard:
    """One shard's embeddings by key, the samples without one, and how many pictures have transparency."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.rejected: list[Failure] = []
        self.transparent = 0
        self._blocks: list[NDArray[np.float32]] = []

    def add(self, batch: Batch, rows: Callable[[], Tensor]) -> None:
        """Wait for the embeddings of a batch, and take those of unit length."""
        self.rejected += batch.rejected
        self.transparent += batch.transparent
        if not batch.keys:
            return
        embeddings = rows().numpy()
        batch.done()
        good = np.abs(np.linalg.norm(embeddings, axis=1) - 1) < NORM_TOLERANCE  # False for NaN as well
        self.keys += [key for key, fine in zip(batch.keys, good, strict=True) if fine]
        self.rejected += [_bad(batch.keys[row], embeddings[row]) for row in np.flatnonzero(~good)]
        self._blocks.append(embeddings[good])

    def write(self, part: "EncodedShard", path: Path) -> Made:
        """Write them to the file `path` as `part`."""
        metadata = {"fingerprint": part.encoding.fingerprint, "source": part.shard.sha256}
        none = np.empty((0, part.encoding.encoder.space.dimension), np.float32)
        embeddings = np.concatenate([none, *self._blocks]).astype(part.encoding.settings.store_as, copy=False)
        digest = write_rows(path, Rows(self.keys, {EMBEDDING_COLUMN: embeddings}, {}), metadata)
        rejected = [*self.rejected, *part.passed_over]
        return Made(self.keys, rejected, transparent=self.transparent, sha256=digest)


@dataclass(frozen=True)
class EncodedShard:
    """Makes the part of one shard; see `pipeline.store.parts.work.Make`, and `Divisible`.

    Attributes:
        encoding: What all parts of the store have in common.
        shard: What is embedded.
        passed_over: Samples that end the process which embeds them.
    """

    encoding: Encoding
    shard: Part
    passed_over: tuple[Failure, ...] = ()

    def __call__(self, path: Path, progress: Progress) -> Made:
        """Write the part to the file `path`."""
        with closing(self.encoding.chunks([self.shard], self.left_out)) as chunks:
            return self.encoding.embed(chunks, progress).write(self, path)

    @property
    def left_out(self) -> frozenset[str]:
        """Keys of the samples that are passed over."""
        return frozenset(failure.key for failure in self.passed_over)

    def try_samples(self, begin: Callable[[str], None], start: str) -> None:
        """Decode and embed one sample after the other, from the key `start` on."""
        encoding, waits = self.encoding, bool(start)
        space, where = encoding.encoder.space, encoding.settings.decode
        with closing(prepared_one_by_one(space, encoding.modality, encoding.shards, self.shard, where)) as samples:
            for key, decoded in samples:
                waits = waits and key != start
                if waits or key in self.left_out:
                    continue
                begin(key)
                for sample in decoded():
                    encoding.encoder(sample[None])

    def without(self, passed_over: Sequence[Failure]) -> "EncodedShard":
        """The same without these samples."""
        return replace(self, passed_over=tuple(passed_over))


def _bad(key: str, embedding: NDArray[np.float32]) -> Failure:
    """What is wrong with an embedding that is not of unit length."""
    what = "is zero" if np.isfinite(embedding).all() else "is not finite"
    return Failure(key, "encode", "BadEmbedding", f"the embedding {what}")


def _timed(folder: Path, work: Work, embedded: EmbeddedShard) -> tuple[Record, float]:
    """The part, written, and how many seconds that took."""
    started = perf_counter()
    make = cast(EncodedShard, work.make)
    record = write_part(folder, work, Silent(), lambda path, _: embedded.write(make, path))
    return record, perf_counter() - started


def _told(written: "Future[tuple[Record, float]]", progress: Progress) -> Record:
    record, seconds = written.result()
    progress.advance(0, write=seconds)
    return record
