"""The methods by name. Another one is one file and one line here."""

from difflib import get_close_matches

from pipeline.errors import UserError
from pipeline.train.cmcr import CMCR
from pipeline.train.layout import Layout
from pipeline.train.objective import Objective
from pipeline.train.oracle import Oracle
from pipeline.train.settings import TrainSettings

METHODS: dict[str, type[Objective]] = {"cmcr": CMCR, "oracle": Oracle}


def build_objective(method: str, layout: Layout, settings: TrainSettings) -> Objective:
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
