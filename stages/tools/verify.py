"""`mcr verify`: is everything that the project holds what it claims to be?"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import CorruptError, UserError
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.spaces import Space
    from pipeline.verify.project import Wanted
    from pipeline.verify.store import StoreCheck
    from pipeline.verify.verdict import Verdict


def verify(
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders, such as data/models, or stores, such as clip/photos; by default everything.",
            show_default=False,
        ),
    ] = None,
    recompute: Annotated[
        int, typer.Option(min=0, help="Embed this many rows of each store again and compare.", show_default=False)
    ] = 0,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Check shards, stores, pairs, models, metrics, annotations and the report against hashes and against each other.

    One line for each: sound; changed, if its inputs have changed since; damaged; or missing, if params.yaml asks for
    it but it does not exist or is unfinished. Exits with 1 if something is damaged, or a store differs from what its
    space computes.

    Examples:

      mcr verify

      mcr verify clip/photos clap --recompute 16
    """
    from pipeline.verify.project import Wanted
    from pipeline.verify.verdict import State

    wanted = _wanted(params_file) if params_file.is_file() else Wanted()
    asked = [_named(path) for path in places or ()]
    counts: Counter[State] = Counter()
    bad: list[Path] = []
    for verdict, agrees in _verdicts(wanted, asked, recompute):
        counts[verdict.state] += 1
        if verdict.state is State.DAMAGED or not agrees:
            bad.append(verdict.place)
    if not counts:
        named = ", ".join(map(str, asked)) or "the project"
        raise UserError(f"There is nothing to verify in {named}.", "Name a folder below data, or run `dvc repro`.")
    said = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    if bad:
        raise CorruptError(
            f"{len(bad)} of {counts.total()} results cannot be relied on: {', '.join(map(str, bad))}.",
            "Run their stages again, such as `mcr encode` for the job of a store: only damaged parts are remade. "
            "If a store differs from its space, remove it first; if it was imported, import it again.",
        )
    if counts[State.UNREADABLE]:
        raise UserError(
            f"{counts[State.UNREADABLE]} of {counts.total()} results may not be read, and so were not checked.",
            "Let their owner change their modes, or verify as that user.",
        )
    say(f"verify: {said}")


def _wanted(params_file: Path) -> "Wanted":
    """What the parameters ask for."""
    from pipeline.params.load import load_params
    from pipeline.verify.project import Wanted
    from stages.context import EMBEDDINGS, METRICS, MODELS, PAIRS, SHARDS

    params = load_params(params_file)
    links = [link for links in params.links.values() for link in links]
    places = [SHARDS / corpus for corpus in params.corpora]
    places += [EMBEDDINGS / job.space / job.corpus for job in params.encode.values()]
    places += [PAIRS / link.place / name for link in links for name in link.sets]
    places += [MODELS / name for name in params.connections]
    places += [METRICS] if params.evaluate.tasks else []
    tables = {table for task in params.evaluate.tasks.values() for table in task.tables}
    return Wanted(places, tables, {link.place: link for link in links})


def _named(path: Path) -> Path:
    """`path` as it is, or below data/embeddings."""
    from stages.context import EMBEDDINGS

    return path if path.exists() else EMBEDDINGS / path


def _verdicts(wanted: "Wanted", asked: list[Path], recompute: int) -> "Iterator[tuple[Verdict, bool]]":
    """Every verdict, said, and whether rows that were computed again agree."""
    from pipeline.verify.project import find_places, missing
    from pipeline.verify.results import check_annotations
    from pipeline.verify.verdict import State, Verdict, unreadable
    from stages.context import ANNOTATIONS, EMBEDDINGS, METRICS, MODELS, PAIRS, REPORTS, SHARDS

    roots = {"shards": SHARDS, "embeddings": EMBEDDINGS, "pairs": PAIRS, "models": MODELS, "metrics": METRICS}
    roots |= {"reports": REPORTS, "annotations": ANNOTATIONS}

    def is_asked(path: Path) -> bool:
        return not asked or any(path.resolve().is_relative_to(each.resolve()) for each in asked)

    there = find_places(roots)
    spaces: dict[str, Space] = {}
    for kind, place in there:
        if not is_asked(place):
            continue
        verdict, check = (found, None) if (found := unreadable(place)) else _verdict(kind, place, roots, wanted)
        _say(verdict)
        agrees = not (recompute and check) or verdict.state is State.DAMAGED or _agrees(check, recompute, spaces)
        yield verdict, agrees
    others = list(check_annotations(ANNOTATIONS, wanted.tables, METRICS))
    others += [
        Verdict(place, State.MISSING, "params.yaml asks for it") for place in missing(wanted, [p for _, p in there])
    ]
    for verdict in others:
        if is_asked(verdict.place):
            _say(verdict)
            yield verdict, True


def _verdict(kind: str, place: Path, roots: dict[str, Path], wanted: "Wanted") -> "tuple[Verdict, StoreCheck | None]":
    """The verdict on one place; of a store also what was found in it."""
    from pipeline.verify.parts import check_pairs, check_shards, judge_store
    from pipeline.verify.results import check_model, check_results
    from pipeline.verify.store import check_store

    if kind == "shards":
        return check_shards(place), None
    if kind == "embeddings":
        check = check_store(place)
        return judge_store(check, roots["shards"] / place.parent.name, _described(check)), check
    if kind == "pairs":
        link = wanted.links.get(place.parent.relative_to(roots["pairs"]).as_posix())
        return check_pairs(place, roots["embeddings"], link), None
    return (check_model(place, roots["pairs"]) if kind == "models" else check_results(place, roots)), None


def _say(verdict: "Verdict") -> None:
    from pipeline.verify.verdict import State

    word = str(verdict.state)
    loud = verdict.state in (State.DAMAGED, State.UNREADABLE)
    say(f"{verdict.place}: {word.upper() if loud else word}: {verdict.said}")


def _described(check: "StoreCheck") -> str:
    manifest = check.manifest
    if manifest is None:
        return ""
    said = f"{check.rows:,} rows in {len(manifest.parts)} parts, {manifest.rejected:,} rejected, norms 1 +- {check.norm_error:.1g}"
    if check.duplicates:
        key, first = check.duplicates[0]
        said += f", {len(check.duplicates):,} equal to an earlier row (such as {key} and {first})"
    return said + (", imported: unverified" if check.unverified else "")


def _agrees(check: "StoreCheck", count: int, spaces: "dict[str, Space]") -> bool:
    """Compute rows of a sound store again; say what came out."""
    from dataclasses import asdict

    from pipeline.hashing import sha256_json
    from pipeline.spaces import load_space
    from pipeline.store import Store
    from pipeline.verify.recompute import recompute, recorded_spec
    from stages.context import SHARDS

    if check.unverified:
        say("  not recomputed: it was imported, and nothing here says how its embeddings were made")
        return True
    store = Store.open(check.folder)
    spec = recorded_spec(store)
    name = sha256_json(asdict(spec))
    if name not in spaces:
        spaces[name] = load_space(spec)
    shards = SHARDS / check.folder.parent.name
    if not shards.is_dir():
        raise UserError(f"There is no {shards} to compute {check.folder} from.", "Run `mcr shard`, or leave it out.")
    found = recompute(store, shards, spaces[name], count)
    verdict = "agrees" if found.agrees else "DIFFERS"
    say(
        f"  recomputed {found.rows}: largest difference {found.largest:.2g} (at {found.worst}; "
        f"{found.tolerance:g} is tolerated), smallest cosine {found.cosine:.6f}: {verdict}"
    )
    for change in found.changed:
        say(f"  since it was made, {change}")
    return found.agrees
