"""`mcr report`: everything that was measured becomes one page."""

from pathlib import Path

from stages.options import ParamsFile


def report(params_file: ParamsFile = Path("params.yaml")) -> None:
    """Write the report: one self-contained page, and a model card.

    Example: mcr report && open data/reports/index.html
    """
    from pipeline.params.load import load_params
    from pipeline.report.write import write_report
    from stages.context import DATA, REPORTS

    params = load_params(params_file)
    written = write_report(DATA, list(params.connections), params.report, REPORTS)
    left_out = f"; without {', '.join(written.missing)}" if written.missing else ""
    print(f"report: {written.page} ({written.page.stat().st_size / 1e6:.1f} MB) and {written.card}{left_out}")
