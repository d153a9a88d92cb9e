"""`mcr report`: everything that was measured becomes one page."""

from pathlib import Path

from stages.options import BreakLock, ParamsFile
from stages.printing import say


def report(params_file: ParamsFile = Path("params.yaml"), break_lock: BreakLock = False) -> None:
    """Write the report: one self-contained page, and a model card.

    Example: mcr report && open data/reports/index.html
    """
    from pipeline.params.load import load_params
    from pipeline.report.write import write_report
    from pipeline.store.lock import locked
    from stages.context import DATA, REPORTS, break_locks
    from stages.leaks import leaks_of

    params = load_params(params_file)
    published = {
        name: [number.model_dump() for number in task.expected] for name, task in params.evaluate.tasks.items()
    }
    break_locks(break_lock, REPORTS)
    with locked(REPORTS):
        leaks = leaks_of(params, params.connections)
        written = write_report(DATA, params.links, params.evaluate.corpora, params.report, REPORTS, leaks, published)
    left_out = f"; without {', '.join(written.missing)}" if written.missing else ""
    say(f"report: {written.page} ({written.page.stat().st_size / 1e6:.1f} MB) and {written.card}{left_out}")
