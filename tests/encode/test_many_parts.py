"""Finding out what to encode grows with the number of parts and no faster; `benchmarks/scale/many_parts.py` takes the time."""

import cProfile
import pstats
from pathlib import Path

from benchmarks.scale.many_parts import encode, make_corpus, planning
from pipeline.encode import job
from pipeline.store import run_parts


def calls_of(function, *arguments) -> int:
    """Function calls, which are the same on every machine, however busy it is."""
    profile = cProfile.Profile()
    profile.runcall(function, *arguments)
    return pstats.Stats(profile).total_calls


def test_planning_and_a_run_with_nothing_to_do_are_linear(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(job, "run_parts", run_parts)  # `planning` replaces it
    counts = {}
    for parts in (30, 300):
        folder = tmp_path / str(parts)
        make_corpus(folder / "shards/c", parts)
        (folder / ".dvc").mkdir()
        calls_of(planning, folder)
        counts["planning", parts] = calls_of(planning, folder)
        job.run_parts = run_parts
        assert encode(folder) == parts
        counts["no-op", parts] = calls_of(encode, folder)
    for step in ("planning", "no-op"):
        assert counts[step, 300] / counts[step, 30] < 10**1.05, counts
