"""The report: one page that needs nothing but itself, and a model card; equal files in give equal bytes out."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.files.atomic import write_text
from pipeline.inert import content_policy, inert_lines
from pipeline.links import Link
from pipeline.report.answer import answer, costs
from pipeline.report.connection_files import EXAMPLES_NAME, Record
from pipeline.report.examples import Examples
from pipeline.report.expected import Published, beside_published, with_published
from pipeline.report.figures.curves import recall_figure, similarity_figures, training_figures
from pipeline.report.figures.media import Gallery, read_members
from pipeline.report.foreign_code import foreign_code
from pipeline.report.inputs import Inputs
from pipeline.report.markdown import code, plain
from pipeline.report.provenance import accounts, link_facts, space_facts, store_fingerprints
from pipeline.report.sentences.findings import Finding, findings, headlines, percent
from pipeline.report.sentences.limits import limits
from pipeline.report.sentences.story import PAIRS, story
from pipeline.report.settings import ReportSettings
from pipeline.report.table import Cell, Table, build_tables, is_share
from pipeline.store.integrity.made_from import write_made_from
from pipeline.store.manifest import MANIFEST_NAME

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
# Where `mcr serve` listens unless it is told otherwise.
EXPLORER = "http://127.0.0.1:8765/"
PAGE, CARD, STYLE = "page.html.j2", "card.md.j2", "style.css"


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        page: The page.
        card: The model card.
        missing: Inputs that do not exist; the page says so in their place.
    """

    page: Path
    card: Path
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """One task on the page.

    Attributes:
        summary: The table that is compared.
        directions: The tables behind it.
        findings: What the summary says.
        expected: What others published beside what was measured, in sentences.
    """

    summary: Table
    directions: Sequence[Table]
    findings: Sequence[Finding]
    expected: Sequence[str] = ()


def write_report(
    data: Path,
    connections: Mapping[str, Sequence[Link]],
    tasks: Mapping[str, Mapping[str, str]],
    settings: ReportSettings,
    output: Path,
    leaks: Sequence[str] | None = None,
    published: Mapping[str, Sequence[Published]] | None = None,
) -> Written:
    """Write `output`/index.html and `output`/model_card.md.

    Args:
        data: Folder of shards, embeddings, pairs, models and metrics; whatever is missing, the page says so.
        connections: By name, in the order of the params: the links of each; the first one that is neither control nor
            bound is the subject.
        tasks: By task of the evaluation: the corpus of each modality.
        settings: What to show.
        output: Where to write.
        leaks: What evaluation sets share with the unpaired data, in sentences; None if that was not compared.
        published: By task: numbers that others published for it.

    Raises:
        CorruptError: A file exists and cannot be read.
    """
    inputs = Inputs(data, dict(connections), dict(tasks))
    facts = _facts(inputs, leaks, published or {})
    shown = _shown(inputs, settings)
    page, card = output / "index.html", output / "model_card.md"
    look = _look()
    text = _environment(html=True).get_template(PAGE).render(**facts, **shown, **look, settings=settings)
    write_text(page, inert_lines(text))
    write_text(card, _card(facts, settings, None))
    sources = [("metrics", "."), *(("models", name) for name in connections)]
    write_made_from(output, sources, {kind: data / kind for kind, _ in sources}, [page.name, card.name])
    log.info("%s: %.1f MB", page, page.stat().st_size / 1e6)
    return Written(page, card, tuple(_missing(inputs)))


@dataclass(frozen=True)
class GivenAway:
    """What the card of a published connection says beside what was measured.

    Attributes:
        source: What others load it by: the name of a repository, or of a folder.
        licence: Of the projectors; empty where nobody said.
        spaces: By space: where its weights are from.
        licences: By space: what those who published its weights say.
        repositories: Of the spaces on the hub.
    """

    source: str
    licence: str
    spaces: Mapping[str, str]
    licences: Mapping[str, str]
    repositories: Sequence[str]


def model_card(inputs: Inputs, settings: ReportSettings, leaks: Sequence[str] | None, given: GivenAway) -> str:
    """The card of a connection that is given away; see `write_report`.

    Raises:
        CorruptError: A file exists and cannot be read.
    """
    return _card(_facts(inputs, leaks, {}), settings, given)


def _card(facts: Mapping[str, object], settings: ReportSettings, given: GivenAway | None) -> str:
    template = _environment(html=False).get_template(CARD)
    return inert_lines(template.render(**facts, settings=settings, given=given))


def _facts(
    inputs: Inputs, leaks: Sequence[str] | None, published: Mapping[str, Sequence[Published]]
) -> dict[str, object]:
    """Everything that page and card say in words and numbers."""
    tables = build_tables(inputs.metrics or [], inputs.connections)
    tasks = _tasks(tables, inputs, published)
    return {
        "main": inputs.main,
        "tables": tables,
        "answer": answer(tables, inputs),
        "costs": costs(inputs),
        "headlines": headlines(tables, inputs.main) if inputs.main else [],
        "story": story(inputs, tables),
        "tasks": tasks,
        "alarms": [
            *inputs.outdated,
            *(leaks or ()),
            *(finding.text for task in tasks for finding in task.findings if finding.loud),
        ],
        "accounts": accounts(inputs),
        "spaces": space_facts(inputs),
        "foreign_code": foreign_code(inputs),
        "links": [link_facts(files, part) for files in inputs.connections.values() for part in files.parts],
        "limits": limits(inputs, tables, leaks),
        "modalities": _modalities(inputs, tables),
        "sweeps": {name: _by_connection(rows, inputs) for name, rows in inputs.sweeps.items()},
        "missing": _missing(inputs),
    }


def _tasks(tables: list[Table], inputs: Inputs, published: Mapping[str, Sequence[Published]]) -> list[Task]:
    """Tables by task: the first one (the mean where there is one) is the summary."""
    found = []
    for key in dict.fromkeys((table.task, table.dataset) for table in tables):
        numbers = published.get(key[0], ())
        own = [table for table in tables if (table.task, table.dataset) == key]
        summary, *directions = with_published(own, numbers)
        expected = beside_published(own, numbers)
        found.append(Task(summary, directions, findings(summary, inputs), expected))
    return found


def _by_connection(rows: list[Record], inputs: Inputs) -> dict[str, list[Record]]:
    """The rows of a sweep by connection, in their order; ``stale`` if that has other pseudo-pairs by now."""
    found: dict[str, list[Record]] = {}
    for row in rows:
        files = inputs.connections.get(row["connection"])
        stale = not (files and files.config and files.pairs_hash == row["pairs"])
        found.setdefault(row["connection"], []).append({**row, "stale": stale})
    return found


def _shown(inputs: Inputs, settings: ReportSettings) -> dict[str, object]:
    """Everything that only the page shows: plots, pictures, sounds."""
    examples = Examples(inputs, settings)
    members = read_members(inputs.data / "shards", examples.needs())
    gallery = Gallery(members, settings.media_kilobytes * 1000)
    tables = build_tables(inputs.metrics or [], inputs.connections)
    return {
        "training": training_figures(inputs.connections),
        "similarities": similarity_figures(inputs.similarities, inputs.main),
        "recall": recall_figure(inputs.ranks, _ranked(tables, inputs)),
        "stores": store_fingerprints(inputs),
        "directions": list(examples.directions(gallery)),
        "pairs_shown": list(examples.pairs(gallery)),
        "pairs_words": PAIRS.get(inputs.main.pairs_are) if inputs.main else None,
        "left_out": gallery.left_out,
    }


def _look() -> dict[str, object]:
    """The style sheet, and a policy under which nothing else on the page can act: no script, no style, no request."""
    style = f"\n{(TEMPLATES / STYLE).read_text()}"
    return {"style": Markup(style), "policy": content_policy(style), "explorer": EXPLORER}


def _ranked(tables: list[Table], inputs: Inputs) -> Table | None:
    """The first table of a task that ranks the items of a gallery."""
    tasks = {record["task"] for record in inputs.ranks or ()}
    return next((table for table in tables if table.task in tasks), None)


def _modalities(inputs: Inputs, tables: list[Table]) -> list[str]:
    """Modalities of the connection, those that it was measured on first."""
    measured = next((list(table.sides) for table in tables if table.sides), [])
    spaces = inputs.main.spaces.values() if inputs.main else []
    return list(dict.fromkeys([*measured, *(modality for space in spaces for modality in space.get("modalities", ()))]))


def _missing(inputs: Inputs) -> list[str]:
    metrics = {name: getattr(inputs, name) for name in ("metrics", "examples", "similarities", "ranks")}
    missing = [f"metrics/{name}.parquet" for name, records in metrics.items() if records is None]
    for files in inputs.connections.values():
        missing += [f"models/{files.name}/config.json"] if files.config is None else []
        for part in files.parts:
            trained = files.record is None or files.record.objective
            missing += [f"models/{part.link.place}/history.parquet"] if trained and part.history is None else []
            sets = [f"pairs/{part.link.place}/{name}" for name in part.link.sets]
            missing += [f"{name}/_manifest.json" for name in sets if not (inputs.data / name / MANIFEST_NAME).is_file()]
            if files is inputs.main:
                missing += [f"{n}/_examples.parquet" for n in sets if not (inputs.data / n / EXAMPLES_NAME).is_file()]
    return missing


@cache
def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=html,
        # Whatever a template does not mark as Markdown is text.
        finalize=None if html else _text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = percent
    environment.filters["cell"] = _cell_text
    environment.filters["cell_range"] = _cell_range
    environment.filters["chance"] = _number
    environment.filters["code"] = code
    environment.filters["spread"] = _spread
    environment.filters["step"] = lambda name: quote(name, safe="", errors="replace")
    environment.filters["width"] = lambda share: f"{100 * min(max(share, 0.0), 1.0):.1f}"
    environment.tests["share"] = is_share
    return environment


def _text(value: object) -> str:
    return value if isinstance(value, Markup) else plain(value)


def _number(value: float, metric: str) -> str:
    """A number of the table: shares in per cent with one decimal, ranks and all others as they are."""
    if is_share(metric):
        return f"{100 * value:.1f}"
    return f"{value:.1f}".removesuffix(".0") if "rank" in metric else f"{value:.3f}"


def _spread(mean: float, deviation: float | None, sign: str = "") -> str:
    """Mean and standard deviation in per cent; of a single seed the mean."""
    known = deviation is not None and deviation == deviation
    return f"{100 * mean:{sign}.1f}" + (f" ± {100 * deviation:.1f}" if known and deviation is not None else "")


def _cell_text(cell: Cell, metric: str) -> str:
    return _number(cell.value, metric)


def _cell_range(cell: Cell, metric: str) -> str:
    if cell.low is None or cell.high is None:
        return ""
    return f"{_number(cell.low, metric)} – {_number(cell.high, metric)}"
