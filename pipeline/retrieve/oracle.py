"""The oracle: true pairs instead of pseudo-pairs. It bounds what any method can reach and is never a result."""

from pipeline.errors import UserError
from pipeline.retrieve.joined import JoinedPart, JoinedStores
from pipeline.retrieve.method import Example
from pipeline.retrieve.plan import PairPlan
from pipeline.store import Rows


class OraclePairs:
    """Rows are the keys that both memories have; see `PairMethod`. Nothing is retrieved and there are no examples.

    Raises:
        UserError: A control is asked for; there is no retrieval that it could break.
    """

    def __init__(self, plan: PairPlan, device: str, threads: int) -> None:
        if plan.settings.control != "none":
            raise UserError(
                f"The oracle {plan.connection!r} has no control {plan.settings.control!r}.",
                "Set retrieve.control to none, or use it in a connection whose method is cmcr.",
            )
        first, second = plan.spaces
        self._columns = plan.memory_column(first), plan.memory_column(second)
        self._joined = JoinedStores(plan.spaces, plan.memories[first].folders, plan.memories[second].folders)
        self.parts = self._joined.parts

    def rows(self, part: JoinedPart) -> Rows:
        """The embeddings of both spaces for the samples of `part`."""
        first, second = self._columns
        vectors = {first: self._joined.first(part), second: self._joined.second(part.keys)}
        return Rows(list(part.keys), vectors, {})

    def examples(self) -> list[Example]:
        """None: a true pair has no neighbours."""
        return []
