"""Are models, metrics, annotations and the report what their records say, and made from what is there?"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pipeline.connect import ConnectedSpace
from pipeline.connect.config import CONFIG_NAME, ConnectionConfig, load_config, other_pairs
from pipeline.errors import McrError
from pipeline.files.reading import read_bytes
from pipeline.hashing import sha256_once
from pipeline.store.integrity.made_from import read_made_from
from pipeline.store.parquet import read_table
from pipeline.verify.verdict import State, Verdict, judged


def check_model(folder: Path, pairs: Path) -> Verdict:
    """The files of a connection against its configurations, and the pairs that it was trained on."""
    if not (folder / CONFIG_NAME).is_file():
        return Verdict(folder, State.MISSING, f"it is unfinished: it has no {CONFIG_NAME}")
    try:
        config = load_config(folder)
        damage = [said for name, digest in config.files.items() for said in _check_file(folder, name, digest)]
        parts = {link.name: folder / link.name for link in config.links if (folder / link.name / CONFIG_NAME).is_file()}
        for name, part in parts.items():
            damage += _check_part(part, name, config, damage)
        if not damage:
            # Each method has files of its own; whether they fit each other tells what reads them.
            ConnectedSpace.load(folder)
    except McrError as error:
        return judged(folder, [error.message.rstrip(".")])
    changes = [
        f"{', '.join(map(str, places))} holds other pairs than it was trained on"
        for link in config.links
        if (places := other_pairs(link, pairs))
    ]
    links = len(config.links)
    holds = f"{links} {'link' if links == 1 else 'links'}, projectors of {', '.join(config.projectors) or 'no space'}"
    return judged(folder, damage, changes, holds=holds)


def check_results(folder: Path, roots: Mapping[str, Path]) -> Verdict:
    """Metrics or a report: their files against the record beside them, and what they were made from."""
    try:
        record = read_made_from(folder)
        if record is None:
            for table in sorted(folder.glob("*.parquet")):
                read_table(table)
            return Verdict(folder, State.SOUND, "an earlier version wrote it: nothing says what it was made from")
        damage = record.damaged(folder)
        changes = [f"{change} since it was made" for change in record.changes(roots)]
    except McrError as error:
        return judged(folder, [error.message.rstrip(".")])
    sources = sum(map(len, record.sources.values()))
    return judged(folder, damage, changes, holds=f"{len(record.files)} files, made from {sources} others")


def check_annotations(folder: Path, tables: Collection[str], metrics: Path) -> Iterator[Verdict]:
    """Each table that a task reads: whether it can be read, and is the one that was measured with.

    Args:
        folder: Where the tables are.
        tables: What tasks name.
        metrics: Where the metrics are, whose record lists tables with their hashes.
    """
    try:
        record = read_made_from(metrics)
    except McrError:
        record = None  # The line of the metrics says so.
    used = record.sources.get("annotations", {}) if record else {}
    for name in sorted({*tables, *used}):
        path = folder / name
        if not path.is_file():
            yield Verdict(path, State.MISSING, "a task or the metrics read it")
            continue
        damage = []
        try:
            if path.suffix.lower() == ".parquet":
                read_table(path)
            else:
                read_bytes(path).decode()
        except (McrError, UnicodeDecodeError) as error:
            damage.append(f"it cannot be read ({getattr(error, 'message', error)})")
        changed = name in used and sha256_once(path) != used[name]
        holds = "it is the one that was measured with" if name in used else "nothing was measured with it yet"
        yield judged(path, damage, ["it was changed since the metrics were measured"] if changed else [], holds=holds)


def _check_part(part: Path, name: str, config: ConnectionConfig, known: Collection[str]) -> list[str]:
    """What is wrong in the folder of one link, apart from what the configuration of the connection said already."""
    own = load_config(part)
    recorded = next(link for link in config.links if link.name == name)
    damage = [
        f"{name}/{said}" for file, digest in own.files.items() for said in _check_file(part, file, digest)
    ]  # fmt: skip
    if own.links[0].pairs != recorded.pairs or own.links[0].train != recorded.train:
        damage.append(f"{name}/{CONFIG_NAME} is not the one that {CONFIG_NAME} unites")
    return [said for said in damage if said not in known]


def _check_file(folder: Path, name: str, digest: str) -> list[str]:
    if not (folder / name).is_file():
        return [f"{name} is missing"]
    return [] if sha256_once(folder / name) == digest else [f"{name} is damaged: its hash is not that of {CONFIG_NAME}"]
