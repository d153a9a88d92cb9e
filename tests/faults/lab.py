"""Where trials are made: the project as it is before each stage, and real stages run in forked processes."""

import codecs
import hashlib
import importlib
import itertools
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.store.lock import LOCK_NAME
from pipeline.store.parts.journal import JOURNAL_NAME
from tests.faults import shim
from tests.faults.project import STAGES, make_project

# What stages import only when they come to it; `torch._dynamo` is the optimizers'.
LIBRARIES = (
    "faiss", "pandas", "pyarrow.pandas_compat", "pyarrow.parquet", "rich.table", "safetensors.torch", "threadpoolctl",
    "torch._dynamo", "typer._adapters",
)  # fmt: skip
# Encoder families whose libraries double the time that a fork takes, and which the project does not use.
NOT_AT_WORK = tuple(
    f"pipeline.spaces.{family}" for family in ("laion_clap", "onnx", "open_clip", "transformers", "ulip2")
)
# What is drawn at random in the name of a temporary file; and the checksum of a line in a journal, which names such files.
OF_THE_RUN = re.compile(rb"(?<=\.)[0-9a-f]{8}(?=\.tmp)|^[0-9a-f]{8}(?= )", re.MULTILINE)
PATIENCE = 60.0  # seconds after which a stage counts as hanging
# What a stage keeps for itself while it is at work; everything else in its folder is a result.
PRIVATE = (LOCK_NAME, JOURNAL_NAME)

Break = Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """How a run of a stage ended: exit code (negative: the signal), everything that it printed, seconds it took, the most
    memory in bytes that it or one of its processes held at a time, and the seconds of processors that they used together,
    which another load on the machine changes little."""

    status: int
    output: str
    seconds: float
    memory: int = 0
    processors: float = 0.0

    @property
    def bug(self) -> bool:
        """Whether it blames itself."""
        return "This is a bug" in self.output or "Traceback" in self.output


class Lab:
    """A project, and a folder to spoil copies of it in.

    Args:
        folder: For everything.
        broken: Applied in every run of a stage: a deliberate mistake in the code that a row has to notice.
    """

    def __init__(self, folder: Path, broken: Break | None = None) -> None:
        self.folder = folder
        self.trial = folder / "trial"
        self.broken = broken
        self.reference: dict[str, dict[str, bytes]] = {}
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, int] = {}

    def prepare(self) -> None:
        """Make the project, and run every stage undisturbed, once for all rows."""
        if not (self.folder / "before/shard").exists():
            make_project(self.folder / "before/shard")
        names = [*STAGES, "end"]
        for stage, following in itertools.pairwise(names):
            self.restore(stage)
            outcome = self.run(stage, broken=False)
            if outcome.status:
                raise AssertionError(f"{stage} fails undisturbed:\n{outcome.output}")
            self.seconds[stage], self.memory[stage] = outcome.seconds, outcome.memory
            shutil.rmtree(self.folder / "before" / following, ignore_errors=True)
            shutil.copytree(self.trial, self.folder / "before" / following)
            self.reference[stage] = self.results(stage)

    def lane(self, number: int, broken: Break | None) -> "Lab":
        """The same lab with a trial folder and a mistake of its own."""
        other = Lab(self.folder, broken)
        other.trial = self.folder / f"lane-{number}" / "trial"
        shutil.rmtree(other.trial, ignore_errors=True)  # what another row left
        other.reference, other.seconds, other.memory = self.reference, self.seconds, self.memory
        return other

    def restore(self, stage: str) -> None:
        """The project as it is before `stage`."""
        shutil.rmtree(self.trial, ignore_errors=True)
        shutil.copytree(self.folder / "before" / stage, self.trial)

    def results(self, stage: str) -> dict[str, bytes]:
        """Bytes of every file that `stage` wrote, by path."""
        root = self.trial / STAGES[stage][1]
        return {
            str(path.relative_to(self.trial)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.name.endswith(PRIVATE)
        }

    def state(self) -> str:
        """A hash of every name and every byte in the trial folder, but for the names of temporary files."""
        found = []
        for path in self.trial.rglob("*"):
            name, content = bytes(path.relative_to(self.trial)), path.read_bytes() if path.is_file() else b""
            journal = path.name.endswith(JOURNAL_NAME)
            found.append(
                [OF_THE_RUN.sub(b"", name), path.is_dir(), OF_THE_RUN.sub(b"", content) if journal else content]
            )
        return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()

    def start(
        self,
        stage: str,
        fault: shim.Fault | None = None,
        broken: bool = True,
        log: str = "log",
        around: Break | None = None,
        arguments: list[str] | None = None,
    ) -> "Run":
        """Fork a process that runs `stage`, or `mcr` with `arguments`, in the trial folder; `around` is called in it
        first."""
        run = Run(self.trial.with_name(f"{self.trial.name}.{log}"))
        sys.stdout.flush()
        waiting, ready = os.pipe()
        run.pid = os.fork()
        if run.pid == 0:
            self._become(arguments or STAGES[stage][0], fault, run.log, broken, ready, around)
        os.close(ready)
        os.read(waiting, 1)
        os.close(waiting)
        return run

    def run(self, stage: str, fault: shim.Fault | None = None, broken: bool = True) -> Outcome:
        """Run `stage` to its end."""
        return self.start(stage, fault, broken).wait()

    def _become(
        self, arguments: list[str], fault: shim.Fault | None, log: Path, broken: bool, ready: int, around: Break | None
    ) -> None:
        try:
            os.setpgid(0, 0)
            os.chdir(self.trial)
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.argv = ["mcr", *arguments]
            if broken and self.broken:
                self.broken()
            if around:
                around()
            from stages.cli import main

            if fault:
                shim.arm(fault, self.trial)
            os.write(ready, b".")
            main()
        finally:
            os._exit(99)


class Run:
    """A stage at work."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.pid = 0
        self.began = time.monotonic()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> Outcome:
        """Its end; a run that hangs is killed."""
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            seconds = time.monotonic() - self.began
            if pid:
                break
            if seconds > PATIENCE:
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return Outcome(-signal.SIGKILL, f"{self.log.read_text(errors='replace')}\nhung", seconds)
            time.sleep(0.003)
        code = os.waitstatus_to_exitcode(status)
        output = self.log.read_text(errors="replace") if self.log.exists() else ""
        return Outcome(code, output, seconds, usage.ru_maxrss << 10, usage.ru_utime + usage.ru_stime)


def load_everything() -> None:
    """Import all code that the stages of the project run, and its libraries, so that a forked process starts at once."""
    import pipeline
    import stages

    for package in (pipeline, stages):
        root = Path(package.__path__[0]).parent
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            name = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            if name.startswith(NOT_AT_WORK):
                continue
            try:
                importlib.import_module(name)
            except ImportError:
                continue  # an extra that is not installed
    for name in ("utf-8-sig", "idna", "latin-1", "ascii", "unicode_escape"):
        codecs.lookup(name)  # Another user may not be able to read this one's Python.
    Image.init()
    for name in LIBRARIES:
        importlib.import_module(name)
