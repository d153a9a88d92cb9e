"""What the numbers do not show. Said on every page, next to what they do show."""

from collections.abc import Sequence

from pipeline.report.connection_files import BOUND, CONTROL
from pipeline.report.inputs import Inputs
from pipeline.report.table import Table


def limits(inputs: Inputs, tables: list[Table], leaks: Sequence[str] | None) -> list[str]:
    """Sentences that follow from what was measured and what was not; `leaks` as in `write_report`."""
    said = [
        "One seed: the intervals come from resampling the evaluation samples. They say how much another draw of samples"
        " would change a number, not how much another seed of the training would.",
    ]
    datasets = sorted({table.dataset for table in tables})
    if datasets:
        said.append(f"Measured on {', '.join(datasets)} only. Nothing here says how the connection does on other data.")
    said.append(
        "A connection cannot be better than its frozen spaces: what they do not represent, or what the overlapping"
        " modality never mentions, it cannot match."
    )
    groups = {row.group for table in tables for row in table.rows}
    if tables and CONTROL not in groups:
        said.append("No negative control was measured, so a leak between the data sets would go unnoticed.")
    if tables and BOUND not in groups:
        said.append("No oracle was trained, so there is no measured bound.")
    if inputs.main and not inputs.main.base:
        said.append(
            "Whether the connection keeps what each space could do before (retrieval inside a space) is shown only"
            " where the table has a task for it."
        )
    if leaks is None:
        said.append(
            "That the evaluation samples are not among the unpaired data is for whoever prepares the corpora to ensure;"
            " their content was not compared."
        )
    elif leaks:
        said += [f"{leak}: numbers on that set are too good." for leak in leaks]
    else:
        said.append(
            "No sample of the unpaired data has the bytes, the decoded content or the key of an evaluation sample, and no"
            " picture looks like one. Pictures that were cut, sounds that were compressed and texts in other words would"
            " not be noticed."
        )
    return said
