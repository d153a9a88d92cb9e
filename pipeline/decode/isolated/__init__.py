"""Calls in child processes, so that a crash, a hang or a hunger for memory costs one argument and no more."""

from pipeline.decode.isolated.limits import Limits
from pipeline.decode.isolated.pool import POSSIBLE, Isolated

__all__ = ["POSSIBLE", "Isolated", "Limits"]
