"""How far long work is: a bar in a terminal, and a line every few seconds everywhere else."""

import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.inert import inert
from stages.printing import note
from stages.terminal.live import can_be_live, draw, erase

if TYPE_CHECKING:
    from rich.console import RenderableType

# Seconds between two drawings of the bar: often enough to look alive, and no work to speak of.
REDRAW = 0.1
WIDEST, BAR = 160, 24  # columns


@dataclass
class Count:
    """How far one task is, when it began and last moved, and the seconds of each of its steps."""

    total: int
    unit: str
    began: float
    moved: float
    done: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> float:
        """Seconds since it began."""
        return max(self.moved - self.began, 1e-9)

    @property
    def rate(self) -> float:
        """Items in a second."""
        return self.done / self.passed

    @property
    def left(self) -> float:
        """Seconds to go, at the rate until now."""
        return (self.total - self.done) / max(self.rate, 1e-9)

    @property
    def busiest(self) -> str:
        """The step that took most; empty where none is told."""
        return max(self.seconds, key=lambda name: self.seconds[name], default="")

    def split(self) -> str:
        """How busy each step was; steps that run at the same time may add up to more than 100 %."""
        return ", ".join(f"{name} {100 * spent / self.passed:.0f} %" for name, spent in self.seconds.items())


class ConsoleProgress:
    """Rate, time left, and what the work waits for, on the standard error stream.

    In a terminal it is a bar, drawn in place and taken away when the work is done. Elsewhere (a log file, a pipe) it is a
    line every `interval` seconds.
    """

    def __init__(self, interval: float = 5.0) -> None:
        self.interval = interval
        self.counts: dict[str, Count] = {}
        self._live = can_be_live()

    def start(self, task: str, total: int, unit: str) -> None:
        """Begin a new count."""
        self.printed = time.monotonic()
        self.task = task
        self.counts[task] = Count(total, unit, self.printed, self.printed)
        if self._live and total:
            draw(bar(task, self.counts[task]))

    def advance(self, count: int, **seconds: float) -> None:
        """Add to the count and, when it is time, show where it stands."""
        current = self.counts[self.task]
        current.moved = now = time.monotonic()
        current.done += count
        for name, spent in seconds.items():
            current.seconds[name] = current.seconds.get(name, 0.0) + spent
        if current.done >= current.total:
            erase()
        elif now - self.printed >= (REDRAW if self._live else self.interval):
            self.printed = now
            if self._live:
                draw(bar(self.task, current))
            else:
                note(
                    f"{self.task}: {current.done:,} of {current.total:,} {current.unit}, {current.rate:,.0f}/s, "
                    f"{current.left:.0f} s left  {current.split()}"
                )

    def summary(self, task: str) -> str:
        """What `task` took and what kept it busy most, for the accounting line; nothing if it had nothing to do."""
        count = self.counts[task]
        if not count.done:
            return ""
        line = f"{count.passed:.1f} s, {count.rate:,.1f} {count.unit}/s"
        if count.seconds:
            line += f" ({count.split()}; bottleneck: {count.busiest})"
        return line


def bar(task: str, count: Count) -> str:
    """One line of a terminal, as wide as that at most."""
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    share = f"{count.done:,}/{count.total:,} {count.unit}"
    told = [f"{count.rate:,.0f}/s", f"{_clock(count.left)} left"] if count.done else ["not yet known how long"]
    told += [f"waits for {count.busiest}"] if count.busiest else []
    grid = Table.grid(padding=(0, 1))
    cells: list[RenderableType] = [ProgressBar(total=max(count.total, 1), completed=count.done, width=BAR)]
    for text in (share, *told):
        cells.append(Text(inert(text), no_wrap=True, overflow="ellipsis"))
    for _ in range(len(cells) + 1):
        grid.add_column(no_wrap=True)
    # A character in the last column would begin a new line in some terminals.
    width = min(shutil.get_terminal_size().columns - 1, WIDEST)
    name = Text(inert(task), no_wrap=True)
    name.truncate(max(width - BAR - 70, width // 4), overflow="ellipsis")
    grid.add_row(name, *cells)
    console = Console(file=sys.stderr, force_terminal=True, width=width, legacy_windows=False)
    with console.capture() as captured:
        console.print(grid, end="", no_wrap=True, overflow="crop", crop=True)
    return captured.get().split("\n")[0].rstrip()


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
