"""Hostile files, settings and texts: nothing is executed, nothing outside is touched, memory and time stay bounded."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.hostile import Attack, archives, canary, media, words
from tests.faults.hostile.media import png_of
from tests.faults.lab import PATIENCE, Lab
from tests.faults.row import Row, Trial

FULL, QUICK = 500, 15
GIGABYTE = 1 << 30
LONGEST = 10.0  # seconds of processors
MARK = b"what a person would miss"
# They lie beside the project.
PRECIOUS = {"precious.txt": MARK, "precious.png": png_of(4, 4) + MARK}


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Every attack, again and again with other numbers; quick: some of them."""
    known = [*media.attacks(), *archives.attacks(), *words.attacks()]
    some = {attack.name for attack in known[:: len(known) // QUICK]} | {"params.yaml: python object"}
    for number in range(len(known) if quick else FULL):
        attack, seed = known[number % len(known)], draw.random()
        if not quick or attack.name in some:
            yield Trial(f"{attack.name} {number // len(known)}", partial(attempt, attack=attack, seed=seed))


def attempt(lab: Lab, attack: Attack, seed: float) -> list[str]:
    """Put it there and run what reads it."""
    lab.restore(attack.stage)
    archives.change(lab.trial, "limits", "max_rejected", value=0.9)
    outside = lab.trial.with_name("outside")
    outside.mkdir(exist_ok=True)
    for name, content in PRECIOUS.items():
        (outside / name).write_bytes(content)
    canary(lab.trial).unlink(missing_ok=True)
    attack.put(lab.trial, random.Random(seed))
    before = _listed(lab.trial / "raw")
    problems = []
    allowed = max(lab.memory.values()) + GIGABYTE
    for command in attack.commands:
        outcome = lab.start(attack.stage, arguments=list(command)).wait()
        if outcome.bug or outcome.status not in (0, 1, 2, 75):
            problems.append(f"says bug: {command}: {outcome.status}: {outcome.output.strip()[-300:]}")
        if outcome.processors > LONGEST or outcome.seconds > PATIENCE:
            problems.append(f"slow: {command}: {outcome.processors:.0f} s of processors, {outcome.seconds:.0f} s")
        if outcome.memory > allowed:
            problems.append(f"memory: {command}: {outcome.memory >> 20} MB, allowed are {allowed >> 20}")
        if MARK.decode() in outcome.output:
            problems.append(f"touched: {command} shows a file from outside")
    if canary(lab.trial).exists():
        problems.append("executed: the command of the attack ran")
    held = {path.name: path.read_bytes() for path in outside.iterdir() if path.is_file()}
    if held != PRECIOUS or _listed(lab.trial / "raw") != before:
        problems.append("touched: files outside of the stage's folder are not what they were")
    for path in (lab.trial / "data/shards").rglob("*.tar"):
        if MARK in path.read_bytes():
            problems.append(f"touched: {path.name} holds a file from outside")
    return problems


def _listed(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_size) for path in folder.rglob("*"))


def broken() -> None:
    """YAML may make any object, and so may a checkpoint."""
    import torch
    import yaml

    import pipeline.files.plain_yaml as plain_yaml
    import pipeline.params.load as load

    def read_anything(path: Path) -> plain_yaml.YamlFile:
        return plain_yaml.YamlFile(yaml.unsafe_load(path.read_text()), ())

    plain_yaml.read_yaml = load.read_yaml = read_anything
    careful = torch.load
    torch.load = lambda *given, **options: careful(*given, **{**options, "weights_only": False})


ROW = Row("hostile files, settings and texts", ("executed", "touched", "memory", "slow", "says bug"), trials, broken)
