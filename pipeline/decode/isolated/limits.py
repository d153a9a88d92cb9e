"""What one call in a child process may take."""

from dataclasses import dataclass

from pipeline.errors import SampleError


@dataclass(frozen=True)
class Limits:
    """What one call may take.

    Attributes:
        seconds: Of time, by the clock on the wall.
        memory: Bytes beyond what the process had when it was forked; None: all that there are.
    """

    seconds: float = 60.0
    memory: int | None = 4 << 30

    def hold_memory(self) -> None:
        """Let this process have `memory` from now on, and no more."""
        import resource  # only Unix has it

        if self.memory is None:
            return
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = held + self.memory
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

    def too_much_memory(self) -> SampleError:
        """What a call is told that asked for more."""
        most = "memory than there is" if self.memory is None else f"than {self.memory >> 20} MB of memory"
        return SampleError("decode", f"the decoder asks for more {most}")
