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
    connections = {name: connection.links(name) for name, connection in params.connections.items()}
    tasks: dict[str, dict[str, str]] = {
        name: {str(modality): task.corpus_of(modality) for modality in task.pair}
        for name, task in params.evaluate.tasks.items()
    }
    published = {
        name: [number.model_dump() for number in task.expected] for name, task in params.evaluate.tasks.items()
    }
    break_locks(break_lock, REPORTS)
    with locked(REPORTS):
        leaks = leaks_of(params, params.connections)
        written = write_report(DATA, connections, tasks, params.report, REPORTS, leaks, published)
    left_out = f"; without {', '.join(written.missing)}" if written.missing else ""
    say(f"report: {written.page} ({written.page.stat().st_size / 1e6:.1f} MB) and {written.card}{left_out}")
