"""The `mcr` command: single stages, and tools to look at what they made."""

import gc
import logging
import os
import sys
from typing import Annotated, NoReturn

import typer

from pipeline.errors import McrError
from stages.adopt import app as adopt
from stages.check import check
from stages.convert import convert_openshape
from stages.demo import app as demo
from stages.doctor import doctor
from stages.embed import embed
from stages.encode import encode
from stages.evaluate import evaluate
from stages.init import init
from stages.metrics import metrics
from stages.plan import plan
from stages.prepare import crop, prepare
from stages.report import report
from stages.retrieve import retrieve
from stages.schema import schema
from stages.search import search
from stages.shard import shard
from stages.sweep import sweep
from stages.train import train
from stages.verify import verify

app = typer.Typer(
    name="mcr",
    help="Connect frozen contrastive spaces (CLIP, CLAP, ULIP, ...) without paired data.\n\n"
    "`dvc repro` runs everything that changed; each command below runs one stage.",
    epilog="Exit codes: 0 done, 1 our fault or a damaged file, 2 a mistake in the inputs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details; show tracebacks.")] = False,
) -> None:
    """Connect frozen contrastive spaces without paired data."""
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
    for ours in ("pipeline", "mcr"):
        logging.getLogger(ours).setLevel(logging.DEBUG if verbose else logging.INFO)


for command in (
    shard,
    encode,
    retrieve,
    train,
    evaluate,
    report,
    metrics,
    sweep,
    search,
    embed,
    verify,
    init,
    convert_openshape,
    prepare,
    crop,
    check,
    doctor,
    plan,
    schema,
):
    app.command()(command)

app.add_typer(adopt, name="import")
app.add_typer(demo, name="demo")


def run() -> None:
    """Run the command line; every error is one line that says what is wrong and one that says what to do."""
    try:
        app()
    except McrError as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            logging.getLogger("mcr").exception("traceback")
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            logging.getLogger("mcr").exception("traceback")
        print(f"error: unexpected {type(error).__name__}: {error}", file=sys.stderr)
        print(
            "hint: This is a bug in mcr-connect. Run again with `mcr -v ...` and report the traceback.", file=sys.stderr
        )
        sys.exit(1)


def main() -> NoReturn:
    """`run` as a process of its own: quick to start and to end, since a pipeline is dozens of them."""
    # Importing torch alone makes more objects than the collector is set up for: a tenth of the time.
    gc.set_threshold(100_000)
    # Equal bytes from run to run: the matrix products may neither choose their number of threads by the load of the
    # machine nor their order of additions by where an array lies. Read when torch is imported.
    for name, value in {"MKL_DYNAMIC": "FALSE", "OMP_DYNAMIC": "FALSE", "MKL_CBWR": "AUTO"}.items():
        os.environ.setdefault(name, value)
    status = 0
    try:
        run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # `mcr metrics | head`
        status = status or 1
    # All files are closed by now; freeing a few hundred thousand objects one by one takes half a second.
    os._exit(status)


if __name__ == "__main__":
    main()
