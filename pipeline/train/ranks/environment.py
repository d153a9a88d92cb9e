"""What a process can know of its rank before it imports torch: the variables that torchrun sets."""

import os

# Together they are enough to find the others.
SET_BY_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Set by `pipeline.train.ranks.launch`, which says itself how the ranks ended.
LAUNCHED = "MCR_RANKS_LAUNCHED"


def one_of_several() -> bool:
    """Whether this process is one of several that torchrun, or whoever sets the same variables, has started."""
    return all(name in os.environ for name in SET_BY_TORCHRUN) and int(os.environ["WORLD_SIZE"]) > 1


def quiet() -> bool:
    """Whether others say that this process was stopped."""
    return one_of_several() and (LAUNCHED in os.environ or os.environ["RANK"] != "0")
