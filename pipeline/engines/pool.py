"""Worker processes, wherever they are, that take works one at a time; those that end are replaced."""

import logging
import pickle
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipeline.engines.messages import (
    Advanced,
    Begins,
    Done,
    Ended,
    Given,
    Logged,
    Over,
    Raised,
    Ready,
    Stream,
    Try,
    Wants,
)
from pipeline.engines.tickets import Ticket, Tickets
from pipeline.errors import McrError
from pipeline.progress import Progress
from pipeline.store.parts.run import Making
from pipeline.store.parts.work import discard_unadopted

log = logging.getLogger(__name__)

# Seconds between two looks at workers that say nothing.
LOOK = 0.25


class Hand(Protocol):
    """One worker process, here or elsewhere."""

    def order(self, message: bytes) -> None:
        """Send what it is to do."""
        ...

    def send(self, message: bytes) -> None:
        """Send an answer."""
        ...

    def end(self) -> None:
        """End it, without waiting for long."""
        ...


class Crew(Protocol):
    """Starts worker processes, one for each device, and listens to them."""

    @property
    def size(self) -> int:
        """How many there are at most."""
        ...

    def start(self, place: int) -> Hand:
        """Start the one at `place`, below `size`."""
        ...

    def listen(self, hands: Sequence[Any], seconds: float) -> Iterable[tuple[Hand, Sequence[Any]]]:
        """What they tell; wait for it, but not longer than `seconds`."""
        ...

    def close(self) -> None:
        """Leave the machines that the processes were on."""
        ...


class _Worker:
    """A worker process and what it has in hand."""

    def __init__(self, place: int, hand: Hand) -> None:
        self.place, self.hand = place, hand
        self.there = self.busy = False
        self.tickets: list[Ticket] = []
        self.reserved: Ticket | None = None  # what it is to have first, when it has loaded what that needs
        self.alone = False  # whether it is to have no other one
        self.advanced = 0  # samples told of that are in no record yet

    def order(self, message: object) -> None:
        self.busy = True
        self.hand.order(pickle.dumps(message))


class Pool:
    """The engine of worker processes; they live until `close`, so that a model is loaded once for many folders."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._workers: list[_Worker] = []
        # Processes that ended since one made anything.
        self._barren = 0

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.hand.end()
        self._workers = []
        self._crew.close()

    def make(
        self, folder: Path, works: Iterable[Any], making: Making, progress: Progress
    ) -> Generator[Any, None, None]:
        """Do `works` by `making` in as many processes as there are devices, and yield their records as they come."""
        tickets = Tickets(works)
        if not tickets.waiting(1):
            return
        stream = Stream(folder, making)
        try:
            while self._assign(tickets, stream):
                for hand, messages in self._crew.listen([worker.hand for worker in self._workers], LOOK):
                    worker = next(worker for worker in self._workers if worker.hand is hand)
                    for message in messages:
                        if isinstance(message, Done):
                            self._barren = 0
                            yield self._taken(worker, message.record)
                        else:
                            self._heed(worker, message, tickets, folder, progress)
        finally:
            for worker in [worker for worker in self._workers if worker.busy]:
                self._remove(worker, folder)

    def _assign(self, tickets: Tickets, stream: Stream) -> bool:
        """Give those that are idle an order, and start more where that helps; whether anything is left to be done."""
        for worker in self._workers:
            if worker.busy or not worker.there or not (ticket := tickets.alone() or tickets.together()):
                continue
            if ticket.trying:
                worker.tickets = [ticket]
                worker.order(Try(ticket.work, ticket.start))
            else:
                worker.reserved, worker.alone = ticket, ticket.alone
                worker.order(stream)
        starting = sum(not worker.there for worker in self._workers)
        free = set(range(self._crew.size)) - {worker.place for worker in self._workers}
        # A process that is started for nothing loads a model for nothing.
        for place in sorted(free)[: max(0, tickets.waiting(self._crew.size) - starting)]:
            self._workers.append(_Worker(place, self._crew.start(place)))
        return bool(tickets.waiting(1)) or any(worker.busy for worker in self._workers)

    def _heed(self, worker: _Worker, message: object, tickets: Tickets, folder: Path, progress: Progress) -> None:
        if isinstance(message, Wants):
            ticket = worker.reserved or (None if worker.alone else tickets.together())
            worker.reserved = None
            worker.tickets += [ticket] if ticket else []
            worker.hand.send(pickle.dumps(Given(ticket.work if ticket else None)))
        elif isinstance(message, Advanced):
            worker.advanced += message.count
            shared = {name: spent / self._crew.size for name, spent in message.seconds.items()}
            progress.advance(message.count, **shared)
        elif isinstance(message, Begins):
            self._barren = 0
            worker.tickets[0].begins(message.key)
        elif isinstance(message, Over):
            worker.busy = False
            for ticket in worker.tickets:  # Only trying leaves a work in hand.
                ticket.tried_to_the_end()
                tickets.again(ticket)
            worker.tickets = []
        elif isinstance(message, Ready):
            worker.there = True
        elif isinstance(message, Raised):
            raise message.error
        elif isinstance(message, Logged):
            logging.getLogger(message.name).log(message.level, "%s", message.text)
        elif isinstance(message, Ended):
            self._replace(worker, message, tickets, folder, progress)

    def _taken(self, worker: _Worker, record: Any) -> Any:
        """The record that `worker` sent; it is of the work that it has had for longest."""
        worker.tickets.pop(0)
        part = getattr(record, "part", None)
        worker.advanced = max(0, worker.advanced - part.samples_in) if part else 0
        return record

    def _replace(self, worker: _Worker, ended: Ended, tickets: Tickets, folder: Path, progress: Progress) -> None:
        lost = [ticket.name for ticket in worker.tickets]
        log.warning(
            "A worker process ended%s: %s.", f" with {', '.join(lost)} in progress" if lost else "", ended.reason
        )
        progress.advance(-worker.advanced)
        held, unasked = worker.tickets, worker.reserved
        self._remove(worker, folder)
        self._barren += 1
        if self._barren > 2 * self._crew.size + 2:
            raise McrError(
                f"Worker processes end before they make any part; the last one because {ended.reason}.",
                "See the lines above, and check this machine's memory. Finished parts are kept.",
            )
        if unasked:
            tickets.again(unasked)
        for ticket in held:
            if not ended.blameless:
                before = len(ticket.passed_over)
                ticket.lost(ended.reason)
                for failure in ticket.passed_over[before:]:
                    log.warning("The sample %s is skipped: %s.", failure.key, failure.message)
            tickets.again(ticket)

    def _remove(self, worker: _Worker, folder: Path) -> None:
        worker.hand.end()
        self._workers.remove(worker)
        for ticket in worker.tickets:
            discard_unadopted(folder, ticket.name)
