"""The whole world on disk: unpaired corpora, evaluation scenes and the oracle's pairs."""

import json
import logging
from collections.abc import Iterable, Set
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.allocator import keep_freed_memory
from pipeline.demo.chunks import CHUNK
from pipeline.demo.factors import FACTORS, SHARED_BY_ALL
from pipeline.demo.files import KINDS, caption_lines, prompt_lines, write_chunk
from pipeline.demo.params import Sizes
from pipeline.demo.scenes import Scenes, draw, point_gallery
from pipeline.errors import first_few
from pipeline.files.atomic import atomic_path, write_text
from pipeline.files.reading import read_bytes, written_by_us
from pipeline.progress import Progress, Silent

log = logging.getLogger(__name__)

# Files of the corpora, by path beside it: a later world removes no others.
LIST_NAME = "_files.json"
_Chunk = tuple[Path, Scenes, int, int]


def write_world(
    raw: Path, truth: Path, seed: int, sizes: Sizes, workers: int = 1, progress: Progress | None = None
) -> int:
    """Write all corpora to `raw`; the bytes do not depend on `workers`.

    Args:
        raw: Folder to fill. Of a world that is there already the files that its list names are replaced or removed;
            others stay, and a warning names them.
        truth: Table of all factors of all scenes (Parquet).
        seed: Seed of the world.
        sizes: Scenes in each corpus.
        workers: Processes that render.
        progress: Told of every scene.

    Returns:
        The number of scenes.
    """
    progress = progress or Silent()
    corpora = {name: draw(seed, name, count) for name, count in sizes}
    total = sum(len(scenes) for scenes in corpora.values())
    progress.start("world", total, "scenes")
    names = {f"{name}/{key}.{kind}" for name, kinds in KINDS.items() for kind in kinds for key in corpora[name].keys}
    _remove_earlier(raw, names)
    work: list[_Chunk] = []
    for name in KINDS:
        (raw / name).mkdir(parents=True, exist_ok=True)
        work += [(raw / name, corpora[name], seed, start) for start in range(0, len(corpora[name]), CHUNK)]
    for count in _render(work, workers):
        progress.advance(count)
    lines = caption_lines(corpora["captions"], seed)
    _write_lines(raw / "captions.jsonl", lines)
    progress.advance(len(lines))
    _write_lines(raw / "prompts.jsonl", prompt_lines(seed))
    write_scenes(truth, corpora.values())
    _write_list(raw, names)
    return total


def _remove_earlier(raw: Path, names: Set[str]) -> None:
    """Remove what an earlier world listed and this one has not, and from now on list both, in case of a kill."""
    path = raw / LIST_NAME
    listed: set[str] = set()
    if path.is_file():
        with written_by_us(path, "Remove it; then remove by hand what is left of an earlier world."):
            listed = set(json.loads(read_bytes(path)))
    for name in listed - names:
        (raw / name).unlink(missing_ok=True)
    _write_list(raw, listed | names)
    known = {raw / name for name in listed | names}
    left = [path for corpus in KINDS for path in sorted((raw / corpus).glob("*")) if path not in known]
    if left:
        log.warning(
            "%d files that no demo world lists are left alone and will be read: %s",
            len(left),
            first_few([str(path) for path in left]),
        )


def _write_list(raw: Path, names: Set[str]) -> None:
    write_text(raw / LIST_NAME, json.dumps(sorted(names), indent=0) + "\n")


def write_scenes(path: Path, corpora: Iterable[Scenes]) -> None:
    """Write the truth about all scenes: key, corpus, every factor by name, what all modalities have in common, and
    whether the scene is in the gallery of 3D evaluation (half of ``heldout``, scenes that differ in what image and point
    cloud share)."""
    tables = []
    for scenes in corpora:
        names = {factor: np.array(levels)[scenes.levels[factor]] for factor, levels in FACTORS.items()}
        gallery = point_gallery(scenes, len(scenes) // 2 if scenes.corpus == "heldout" else 0)
        common = [" ".join(words) for words in zip(*(names[factor] for factor in SHARED_BY_ALL), strict=True)]
        columns = {"key": scenes.keys, "corpus": [scenes.corpus] * len(scenes), **names}
        columns |= {"common": common, "point_gallery": gallery}
        tables.append(pa.table(columns))
    with atomic_path(path) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary, write_page_checksum=True)


def _write_lines(path: Path, lines: Iterable[tuple[str, str]]) -> None:
    write_text(path, "".join(json.dumps({"key": key, "text": text}) + "\n" for key, text in lines))


def _render(work: list[_Chunk], workers: int) -> Iterable[int]:
    if workers == 1:
        yield from map(_write, work)
        return
    # Not forked: the caller may hold threads of other libraries.
    with ProcessPoolExecutor(workers, get_context("spawn"), keep_freed_memory) as pool:
        yield from pool.map(_write, work)


def _write(work: _Chunk) -> int:
    folder, scenes, seed, start = work
    write_chunk(folder, scenes, seed, start)
    return min(CHUNK, len(scenes) - start)
