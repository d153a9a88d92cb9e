"""The `mcr` command: single stages, and tools to look at what they made."""

import gc
import logging
import os
import sys
from typing import Annotated, NoReturn

import typer

from pipeline.errors import CorruptError, McrError, TryAgainError, UserError
from pipeline.files.os_errors import explained
from pipeline.plugins import plugin_in
from pipeline.train.ranks.environment import LAUNCHED, one_of_several
from stages.encode import encode
from stages.evaluate import evaluate
from stages.printing import log_to_stderr, prepare_streams, show_error
from stages.report import report
from stages.retrieve import retrieve
from stages.shard import shard
from stages.signals import Stopped, end_at_once, say_stopped, stop_on_signals
from stages.terminal.live import erase
from stages.tools.check import check
from stages.tools.compare import compare
from stages.tools.data.adopt import app as adopt
from stages.tools.data.convert import convert_openshape
from stages.tools.data.cut import cut
from stages.tools.data.export import app as export
from stages.tools.data.fetch import fetch
from stages.tools.data.prepare import crop, prepare
from stages.tools.data.text_pool import text_pool
from stages.tools.demo import app as demo
from stages.tools.doctor import doctor
from stages.tools.embed import embed
from stages.tools.init import init
from stages.tools.inputs import inputs
from stages.tools.metrics import metrics
from stages.tools.plan import plan
from stages.tools.publish import publish
from stages.tools.schema import schema
from stages.tools.search import search
from stages.tools.serve import serve
from stages.tools.sweep import sweep
from stages.tools.verify import verify
from stages.train import train

app = typer.Typer(
    name="mcr",
    help="Connect frozen contrastive spaces (CLIP, CLAP, ULIP, ...) without paired data.\n\n"
    "`dvc repro` runs everything that changed; each command below runs one stage.",
    epilog="Exit codes: 0 done, 1 internal error or damaged file, 2 user error, 75 try again later (a full "
    "disk, say), 128 + n stopped by signal n.",
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
    log_to_stderr(level)
    for ours in ("pipeline", "mcr"):
        logging.getLogger(ours).setLevel(logging.DEBUG if verbose else logging.INFO)


for command in (
    inputs,
    shard,
    encode,
    retrieve,
    train,
    evaluate,
    report,
    metrics,
    compare,
    sweep,
    search,
    serve,
    publish,
    embed,
    verify,
    init,
    fetch,
    convert_openshape,
    prepare,
    crop,
    text_pool,
    cut,
    check,
    doctor,
    plan,
    schema,
):
    app.command()(command)

app.add_typer(adopt, name="import")
app.add_typer(export, name="export")
app.add_typer(demo, name="demo")


def run() -> None:
    """Run the command line; every error is one line that says what is wrong and one that says what to do."""
    try:
        status = app(standalone_mode=False)
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and not plugin_in(error):  # the parser's own
            raise
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            logging.getLogger("mcr").exception("traceback")
        said = _said(error)
        if said.message and not _said_by_another_rank(said):
            show_error(said)
        status = said.exit_code
    sys.exit(status)


def _said_by_another_rank(error: McrError) -> bool:
    """Whether this is one of several ranks of a training, and what ended all of them is said elsewhere."""
    if not one_of_several():
        return False
    from pipeline.train.ranks.join import first_to_say
    from pipeline.train.ranks.together import RankLostError

    known_to_launcher = LAUNCHED in os.environ and isinstance(error, RankLostError) and not error.late
    return known_to_launcher or not first_to_say()


def _said(error: Exception | SystemExit) -> McrError:
    """`error` in the words that the user sees."""
    if isinstance(error, McrError):
        # What a reader took for damage may have been the system's refusal to read.
        return (explained(error) if isinstance(error, CorruptError) else None) or error
    if plugin := plugin_in(error):
        said = "it ended the program" if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
        return explained(error) or UserError(
            f"{plugin} failed ({said}).", f"Repair {plugin.package}; `mcr -v` shows where it failed."
        )
    assert isinstance(error, Exception)
    if usage := _usage(error):
        return usage
    return explained(error) or McrError(
        f"unexpected {type(error).__name__}: {error}",
        "This is a bug in mcr-connect. Run again with `mcr -v ...` and report the traceback.",
    )


def _usage(error: Exception) -> UserError | None:
    """The mistake in the command line that `error` of the parser stands for; empty if the help was shown for it."""
    if isinstance(error, typer.Abort) or type(error).__name__ == "NoArgsIsHelpError":
        return UserError("")
    if not hasattr(error, "format_message"):  # Where the parser's errors are defined differs between its versions.
        return None
    context = getattr(error, "ctx", None)
    return UserError(error.format_message(), f"See `{context.command_path if context else 'mcr'} --help`.")


def main() -> NoReturn:
    """`run` as a process of its own: quick to start and to end, since a pipeline is dozens of them."""
    status = 0
    try:
        stop_on_signals()
        status = _run_to_the_end()
    except Stopped as stopped:
        say_stopped(stopped.number)
        status = 128 + stopped.number
    # All files are closed by now; freeing a few hundred thousand objects one by one takes half a second.
    end_at_once(status)


def _set_up_threads() -> None:
    """What MKL and OpenMP read when torch is imported, so before it."""
    # Equal bytes from run to run: the matrix products may neither choose their number of threads by the load of the
    # machine nor their order of additions by where an array lies.
    chosen = {"MKL_DYNAMIC": "FALSE", "OMP_DYNAMIC": "FALSE", "MKL_CBWR": "AUTO"}
    # By default a thread that waits for the others spins for milliseconds, on a core that the one it waits for needs:
    # beside other work a training then takes several times as long.
    if "OMP_WAIT_POLICY" not in os.environ:
        chosen["GOMP_SPINCOUNT"] = "1000"
    for name, value in chosen.items():
        os.environ.setdefault(name, value)


def _run_to_the_end() -> int:
    prepare_streams()
    # Importing torch alone makes more objects than the collector is set up for: a tenth of the time.
    gc.set_threshold(100_000)
    _set_up_threads()
    status = 0
    try:
        run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    logging.shutdown()
    erase()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # `mcr metrics | head`
        status = status or 1
    except OSError:  # `mcr metrics > /dev/full`: the answer did not arrive
        status = status or TryAgainError.exit_code
    return status


if __name__ == "__main__":
    main()
