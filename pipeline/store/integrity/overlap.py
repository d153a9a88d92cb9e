"""A stage never writes into what it reads, nor reads what it writes."""

from pathlib import Path

from pipeline.errors import UserError


def refuse_overlap(source: Path, output: Path) -> None:
    """See that neither of two places is in the other, wherever links lead.

    Raises:
        UserError: One is.
    """
    read, written = source.resolve(), output.resolve()
    if read == written or written in read.parents:
        raise UserError(
            f"The source {source} is in {output}, which this stage writes.", "Move the source to a folder of its own."
        )
    if read.is_dir() and read in written.parents:
        raise UserError(
            f"{output}, which this stage writes, is in the source {source}.", "Move the source to a folder of its own."
        )
