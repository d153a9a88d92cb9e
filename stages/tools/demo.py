"""`mcr demo`: a small world in which everything is known, and three small spaces that learn it separately."""

import os
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stages.printing import say

app = typer.Typer(help="Make the demo's data and its frozen spaces.", no_args_is_help=True)

RAW, TRUTH, SPACES = Path("data/demo/raw"), Path("data/annotations/scenes.parquet"), Path("data/spaces")
ParamsFile = Annotated[Path, typer.Option("--params", help="The settings of the demo world.")]
PARAMS = Path("data/demo/params.yaml")


class SpaceName(StrEnum):
    """The spaces of the demo."""

    clip = "clip"
    clap = "clap"
    ulip = "ulip"


@app.command()
def world(params_file: ParamsFile = PARAMS) -> None:
    """Render all corpora of the demo world as ordinary files.

    Example: mcr demo world
    """
    from pipeline.demo.params import read_params
    from pipeline.demo.world import write_world
    from stages.context import ConsoleProgress

    params = read_params(params_file)
    started = time.monotonic()
    # The bytes do not depend on the number of processes.
    workers = min(os.cpu_count() or 1, 8)
    count = write_world(RAW, TRUTH, params.seed, params.sizes, workers, ConsoleProgress())
    say(f"demo world: {count:,} scenes in {time.monotonic() - started:.0f} s")


@app.command()
def pretrain(space: SpaceName, params_file: ParamsFile = PARAMS) -> None:
    """Train one space of the demo on separate scenes.

    Example: mcr demo pretrain clip
    """
    from importlib import import_module

    from pipeline.allocator import keep_freed_memory
    from pipeline.demo.params import read_params
    from pipeline.errors import UserError
    from pipeline.spaces.compact.space import CONFIG, WEIGHTS
    from stages.context import ConsoleProgress, make_deterministic

    params = read_params(params_file)
    folder = SPACES / space.value
    strange = sorted({path.name for path in folder.glob("*")} - {WEIGHTS, CONFIG})
    if strange:
        raise UserError(
            f"{folder} holds {strange[0]}, which is not the demo's.",
            "Weights of your own? `mcr init` takes the demo out of the project. Otherwise remove the file.",
        )
    keep_freed_memory()
    make_deterministic(params.threads)
    started = time.monotonic()
    # One module for each space, so that a change of one kind of rendering retrains only who sees it.
    module = import_module(f"pipeline.demo.pretrain.{space.value}")
    settings = getattr(params.pretrain, space.value)
    module.pretrain(folder, settings, params.seed, ConsoleProgress())
    say(f"demo {space.value}: {settings.scenes:,} scenes, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    app()
