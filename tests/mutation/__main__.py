"""`python -m tests.mutation`: small mistakes in the modules of modules.toml, one at a time; how many do their tests notice?

Cosmic Ray makes the mutants; of each module a sample is drawn with a seed. Each is tried in a copy of the tree, by a process
that is forked from one in which the libraries are imported, because starting them takes longer than most tests do. Not drawn
are mutants of type annotations (`|` between types), which no test can notice.
"""

import argparse
import difflib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]
SETTINGS = Path(__file__).with_name("modules.toml")
OF_TYPES = "core/ReplaceBinaryOperator_BitOr_"
# With sources of their own, so that a mutant is imported anew.
OURS = ("tests", "pipeline", "stages", "mcr_connect")
LIBRARIES = (
    "torch",
    "pyarrow.parquet",
    "PIL.Image",
    "pytest",
    "hypothesis",
    "pandas",
    "soundfile",
    "pydantic",
    "typer",
)


@dataclass(frozen=True)
class Mutant:
    """One small mistake: which operator of Cosmic Ray makes it, and where."""

    module: str
    operator: str
    occurrence: int

    def source(self) -> str:
        """The module with the mistake."""
        changed = mutate_code((ROOT / self.module).read_text(), get_operator(self.operator)(), self.occurrence)
        assert changed, self
        return str(changed)

    def diff(self) -> str:
        """The mistake, as a person reads it."""
        before, after = ((text.splitlines()) for text in ((ROOT / self.module).read_text(), self.source()))
        return "\n".join(difflib.unified_diff(before, after, self.module, self.operator, n=1, lineterm=""))


def main() -> None:
    """Parse the command line, count, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", help="only these")
    parser.add_argument("--sample", type=int, default=60, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least", type=float, default=0.85, help="share of all that has to be killed")
    parser.add_argument("--lanes", type=int, default=min(os.cpu_count() or 1, 4))
    parser.add_argument("--results", type=Path, help="where the counts go, beside those of other modules")
    chosen = parser.parse_args()
    settings = tomllib.loads(SETTINGS.read_text())
    for name in LIBRARIES:
        import_module(name)
    counts: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(chosen.lanes, fork, _copy_of_the_tree, (scratch,)) as lanes:
            for module, tests in settings["modules"].items():
                if chosen.modules and module not in chosen.modules:
                    continue
                if lanes.submit(_status, tests, settings["seconds"]).result():
                    sys.exit(f"error: {tests} fails without a mistake in {module}.")
                known = list(mutants(module))
                some = random.Random(f"{chosen.seed} {module}").sample(known, min(chosen.sample, len(known)))
                killed = list(lanes.map(noticed, some, [tests] * len(some), [settings["seconds"]] * len(some)))
                counts[module] = {"possible": len(known), "drawn": len(some), "killed": sum(killed)}
                print(f"{module}: {sum(killed)} of {len(some)} killed, of {len(known)} possible")
                for mutant in (mutant for mutant, known in zip(some, killed, strict=True) if not known):
                    print(mutant.diff(), flush=True)
    drawn, killed_ones = (sum(each[name] for each in counts.values()) for name in ("drawn", "killed"))
    print(f"{killed_ones} of {drawn} mutants killed: {killed_ones / drawn:.0%}")
    if chosen.results:
        keep(counts, chosen)
    sys.exit(killed_ones < chosen.least * drawn)


def mutants(module: str) -> Iterator[Mutant]:
    """All mutants of a module, in an order that is always the same."""
    nodes = list(ast_nodes(get_ast((ROOT / module).read_text())))
    for name in sorted(operator_names()):
        if not name.startswith(OF_TYPES):
            if get_operator(name).arguments():
                continue  # of those that are made to order
            operator = get_operator(name)()
            places = chain.from_iterable(operator.mutation_positions(node) for node in nodes)
            yield from (Mutant(module, name, number) for number, _ in enumerate(places))


_tree = Path()


def _copy_of_the_tree(scratch: str) -> None:
    """Make the copy in which this lane spoils files."""
    global _tree
    _tree = Path(scratch, str(os.getpid()))
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (_tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, _tree / name)


def noticed(mutant: Mutant, tests: str, seconds: float) -> bool:
    """Whether `tests` fail under the mistake, or take longer than `seconds`."""
    path = _tree / mutant.module
    path.write_text(mutant.source())
    try:
        return _status(tests, seconds) != 0
    finally:
        shutil.copy2(ROOT / mutant.module, path)


def _status(tests: str, seconds: float) -> int:
    """Exit code of the tests in this lane's tree."""
    pid = os.fork()
    if not pid:
        _become(tests)
    began = time.monotonic()
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() - began > seconds:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _become(tests: str) -> None:
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.chdir(_tree)
        os.environ["PYTHONPATH"] = str(_tree)
        sys.dont_write_bytecode = True
        sys.path[:] = [str(_tree), *(place for place in sys.path if Path(place or ".").resolve() != ROOT)]
        for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
            del sys.modules[name]
        os._exit(int(import_module("pytest").main(["-x", "-q", "-p", "no:cacheprovider", *tests.split()])))
    finally:
        os._exit(99)


def keep(counts: dict[str, dict[str, int]], chosen: argparse.Namespace) -> None:
    """Write the counts, each with the commit that was tried."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    known: dict[str, Any] = json.loads(chosen.results.read_text()) if chosen.results.exists() else {}
    known |= {module: {**each, "seed": chosen.seed, "commit": commit.strip()} for module, each in counts.items()}
    chosen.results.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
