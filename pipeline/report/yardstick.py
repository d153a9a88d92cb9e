"""The recall by which methods are compared."""

from pipeline.report.table import Table

# Numbers of candidates that are looked at, and how many items there must be for each of them. Among fewer, nearly every
# method finds the true one: 100 pairs of the demo did not tell coupling from the bridge by R@10, and did by R@5.
DEPTHS, ITEMS_FOR_EACH = (10, 5, 1), 20


def depth(items: int) -> int:
    """At how many candidates recall is compared on so many items: the deepest of `DEPTHS` that is not too easy."""
    return next((k for k in DEPTHS if k * ITEMS_FOR_EACH <= items), DEPTHS[-1])


def yardstick(table: Table) -> str | None:
    """Name of the recall that suits the number of items, or the nearest one that was measured; None if none was."""
    found = [k for k in DEPTHS if f"R@{k}" in table.metrics]
    most = depth(table.queries) if table.queries else DEPTHS[0]
    return next((f"R@{k}" for k in found if k <= most), f"R@{found[-1]}" if found else None)
