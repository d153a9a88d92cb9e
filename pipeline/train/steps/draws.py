"""Where the randomness of a training comes from."""

from dataclasses import dataclass

import torch

from pipeline.hashing import seed_from

FIRST_DRAWS = 1  # what counts for states that do not say it
# By kind of device: raised when order or noise become others, because a training that was begun with the earlier ones would
# not end with the bytes of either.
DRAWS_VERSION = {"cuda": 2}


def draws_version(device: str) -> int:
    """Which order and noise a training on `device`, such as ``cuda:0``, has."""
    return DRAWS_VERSION.get(device.partition(":")[0], FIRST_DRAWS)


@dataclass(frozen=True)
class Draws:
    """Where the randomness of a run comes from: every purpose and epoch has a generator of its own.

    Attributes:
        seed: Seed of the run.
        connection: Name of the connection.
    """

    seed: int
    connection: str

    def generator(self, purpose: str, *, epoch: int = 0, device: str = "cpu") -> torch.Generator:
        """A fresh generator for `purpose` in `epoch`."""
        return torch.Generator(device).manual_seed(self.seed_of(purpose, epoch))

    def seed_of(self, purpose: str, epoch: int) -> int:
        """The seed of that generator."""
        return seed_from(self.seed, self.connection, purpose, epoch)
