"""One sentence of advice, with what it rests on."""

from collections.abc import Collection, Mapping, Sequence

from pipeline.evaluate.advice.paired import Rival
from pipeline.evaluate.advice.signs import Signs
from pipeline.methods import methods

# With fewer, drawing the items again says little: of three, all may fall to one side by chance, and no interval shows it.
FEWEST = 20


def by_pairs(rivals: Sequence[Rival], untrained: Collection[str], connections: Collection[str], items: int) -> str:
    """What held-out pairs say: the best method, or, of those that they cannot tell from it, one that trains nothing.

    Nothing is recommended on fewer than `FEWEST` items, and items that several methods all find are called too easy.

    Args:
        rivals: Best first.
        untrained: Names of those that train nothing.
        connections: Names of those that params.yaml has as connections; the others are baselines.
        items: Held-out items.
    """
    if items < FEWEST:
        return (
            f"{items} held-out item{'' if items == 1 else 's'} cannot tell methods apart, whatever the intervals say: "
            "measure on a few hundred."
        )
    best = rivals[0]
    at_limit = [rival for rival in rivals if rival.value == 1]
    easy = (
        f" {len(at_limit)} methods find every item: only more of them, or items that are more alike, can tell these apart."
        if len(at_limit) > 1
        else ""
    )
    equal = [rival for rival in rivals[1:] if rival.is_as_good]
    simple = next((rival for rival in equal if rival.name in untrained), None)
    if best.name not in untrained and simple:
        reason = (
            f"{items} held-out items cannot tell it from {best.name}, the best of those that are trained "
            f"(behind by {_interval(simple)})"
        )
        return f"Take {_named(simple.name, connections)}: nothing is trained, and {reason}.{easy}"
    others = f" {', '.join(rival.name for rival in equal)} may be as good." if equal else ""
    next_one = next((rival for rival in rivals[1:] if not rival.is_as_good), None)
    behind = f"; {next_one.name}, the next, is behind by {_interval(next_one)}" if next_one else ""
    place = "none is better" if any(rival.value == best.value for rival in equal) else "the best"
    return f"Take {_named(best.name, connections)}: {place} on {items} held-out items{behind}.{others}{easy}"


def by_signs(found: Mapping[str, Signs], untrained: Collection[str], by_class: bool = False) -> str:
    """What can be said without a pair; weak, and said to be.

    Args:
        found: By connection.
        untrained: Names of those that train nothing.
        by_class: Whether the task has right answers by class, whose recall does not compare methods.
    """
    best = max(found, key=lambda name: found[name].agreement)
    simple = [name for name in found if name in untrained]
    start = simple[0] if simple else best
    agreed = f"{best} agrees most with itself ({100 * found[best].agreement:.0f} % of neighbours are mutual)"
    if by_class:
        return (
            f"Start with {start}. Right answers of this task are classes, which `mcr metrics` shows and which are not compared "
            f"here; {agreed}, but that is a sign and no measurement."
        )
    rest = "keep a few hundred pairs out of everything, add a retrieval task on them and run `mcr evaluate`"
    return f"Start with {start}. No held-out pair has been measured; {agreed}, but that is a sign and no measurement: {rest}."


def _named(name: str, connections: Collection[str]) -> str:
    if name in connections:
        return name
    if name in methods():
        return f"{name} (a baseline so far: add a connection with `method: {name}` to use it)"
    return f"{name} (a baseline, and no connection is better yet)"


def _interval(rival: Rival) -> str:
    return f"{100 * rival.low:.1f} to {100 * rival.high:.1f} points"
