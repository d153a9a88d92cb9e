"""`mcr text-pool`: public captions become the texts that connections are made from."""

from pathlib import Path
from typing import Annotated

import typer

from stages.printing import say


def text_pool(
    folder: Annotated[Path, typer.Argument(help="Folder of the publishers' files, with a folder for each set.")],
    draw: Annotated[
        int, typer.Option(min=0, help="Number of CC3M captions to draw; the papers use a million.")
    ] = 1_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Of that draw.")] = 0,
    to: Annotated[Path, typer.Option(help="Where the pool goes.")] = Path("data/raw/texts"),
) -> None:
    """Gather the captions of COCO, AudioCaps, Clotho and CC3M, without those of evaluation sets.

    Captions that also occur in an evaluation set are left out, ignoring case, punctuation and spaces. pool.json
    counts the rows that were kept, left out and not drawn; left-out.jsonl lists those left out, each with its reason.

    Example: mcr text-pool data/downloads
    """
    from pipeline.prepare.text_pool import make_text_pool

    pool = make_text_pool(folder, to, draw, seed)
    for name, counts in pool.rows.items():
        said = ", ".join(f"{count:,} {why}" for why, count in counts.items())
        say(f"text-pool {name}: {sum(counts.values()):,} rows: {said}")
    held = ", ".join(f"{count:,} of {name}" for name, count in pool.held_out.items())
    say(f"text-pool: compared with {held or 'no evaluation captions: put their files there, too'}")
    for path in pool.missing:
        say(f"text-pool: there is no {folder / path}")
    kept = sum(counts.get("kept", 0) for counts in pool.rows.values())
    say(f"text-pool: {kept:,} captions in {to / 'captions.jsonl'}")
