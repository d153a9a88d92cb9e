"""A row of the table: what is tried, what must not happen, and the mistake in the code that it has to notice."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.lab import Break, Lab, Outcome


@dataclass(frozen=True)
class Trial:
    """One thing that is tried: `run` gives what went wrong, in words that begin with the measure and a colon."""

    name: str
    run: Callable[[Lab], list[str]]


@dataclass(frozen=True)
class Row:
    """A kind of fault.

    Attributes:
        name: In the table.
        measures: What is counted, and has to be 0.
        trials: What is tried; `quick` says whether a sample is enough.
        broken: A deliberate mistake in the code under which the quick trials have to find something.
    """

    name: str
    measures: tuple[str, ...]
    trials: Callable[[Lab, random.Random, bool], Iterator[Trial]]
    broken: Break


def chosen(numbers: range, most: int, draw: random.Random) -> list[int]:
    """All of `numbers`, or `most` of them: the first, the last and others at random."""
    if len(numbers) <= most:
        return list(numbers)
    between = draw.sample(numbers[1:-1], max(most - 2, 0))
    return sorted({numbers[0], numbers[-1], *between})


def said_clearly(outcome: Outcome, statuses: tuple[int, ...]) -> list[str]:
    """Problems with how a run ended that could not go well."""
    problems = []
    if outcome.bug:
        problems.append(f"says bug: {outcome.output.strip()[-300:]}")
    elif outcome.status not in statuses:
        problems.append(f"exit code: {outcome.status}: {outcome.output.strip()[-300:]}")
    elif outcome.status and not ("error:" in outcome.output and "hint:" in outcome.output):
        problems.append(f"exit code: {outcome.status} without an error and a hint")
    return problems


def partial_finals(lab: Lab, stage: str) -> list[str]:
    """Results of a stage that did not finish whose names exist, and whose bytes are not those of the end."""
    whole = lab.reference[stage]
    return [
        f"partial final: {name}"
        for name, content in lab.results(stage).items()
        if name.endswith((".tar", ".parquet", ".safetensors", ".html", ".md"))
        and name in whole
        and "/checkpoint/" not in name
        and content != whole[name]
    ]


def leftovers(lab: Lab, stage: str) -> list[str]:
    """Files of a stage that ended in order which are not results of it."""
    known = lab.reference[stage]
    return [
        f"left behind: {name}"
        for name in lab.results(stage)
        if name not in known and "/checkpoint/" not in name and not name.endswith("_manifest.json")
    ]


def differences(lab: Lab, stage: str) -> list[str]:
    """How the results of a finished stage differ from those of an undisturbed run."""
    found, whole = lab.results(stage), lab.reference[stage]
    names = [name for name in sorted(found.keys() | whole.keys()) if found.get(name) != whole.get(name)]
    return [f"differing rerun: {', '.join(names[:4])}"] if names else []


_seen: dict[tuple[str, str], list[str]] = {}


def rerun(lab: Lab, stage: str) -> list[str]:
    """Problems of running the stage again, undisturbed.

    Faults at calls that follow each other mostly leave the same files, name by name and byte by byte. What a run makes of
    them was seen then.
    """
    left = (stage, lab.state())
    if left not in _seen:
        outcome = lab.run(stage)
        if outcome.status:
            _seen[left] = [f"differing rerun: exit code {outcome.status}: {outcome.output.strip()[-300:]}"]
        else:
            _seen[left] = differences(lab, stage)
    return _seen[left]
