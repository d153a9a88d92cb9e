"""The methods by name. Another one is one file and one line here."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from pipeline.errors import UserError
from pipeline.train.cmcr import CMCR
from pipeline.train.coupling import Coupling
from pipeline.train.exmcr import ExMCR
from pipeline.train.layout import Layout
from pipeline.train.objective import Objective
from pipeline.train.oracle import Oracle
from pipeline.train.settings import ScheduleSettings

# Each takes the layout of the pairs and its own settings.
METHODS: dict[str, Callable[[Layout, Any], Objective]] = {
    "cmcr": CMCR,
    "coupling": Coupling,
    "excoupling": Coupling,
    "exmcr": ExMCR,
    "oracle": Oracle,
}


def build_objective(method: str, layout: Layout, settings: ScheduleSettings) -> Objective:
    """The objective of `method` for pairs of `layout`.

    Raises:
        UserError: Unknown method, or pairs that were made for another one.
    """
    if method not in METHODS:
        nearest = get_close_matches(method, METHODS, n=1)
        hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Choose one of: {', '.join(METHODS)}."
        raise UserError(f"There is no method {method!r}.", hint)
    if layout.method != method:
        raise UserError(
            f"The pairs were made for {layout.method}, the connection asks for {method}.",
            "Run the retrieve stage of this connection again.",
        )
    return METHODS[method](layout, settings)
