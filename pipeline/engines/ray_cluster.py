"""Worker processes on the machines of a Ray cluster, one for each GPU, or as many as are wanted on CPUs.

An actor of Ray holds one worker process and watches it there, just as the driver does on its own machine; the driver asks the
actor, again and again, what the process has told. An answer that does not come in time is taken for a lost machine, whatever
Ray says: waiting on an actor of a lost node can hang. Restarts and retries are the pool's, Ray does none.
"""

import math
import os
import pickle
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from pipeline.engines.messages import Ended
from pipeline.engines.supervised import Limits
from pipeline.errors import TryAgainError, UserError
from pipeline.store.threads import available_cores

# Seconds that an actor waits for its process to tell something, and within which it has to answer.
TURN, SILENCE = 0.5, 30.0
# Seconds within which an actor has to be there.
START = 120.0
# Variables of the driver that worker processes elsewhere need as well.
SHARED = ("MKL_", "OMP_", "GOMP_", "HF_", "TRANSFORMERS_", "CUBLAS_", "TORCH_")


class RayCrew:
    """Starts and listens to them; see `Crew`.

    Args:
        address: Of the cluster; empty: one is started on this machine.
        device: ``cuda``, ``cpu``, or empty where nothing is computed.
        processes: How many on CPUs; ``auto``: as many as the cores of the cluster hold.
        threads: Of each.
        start: What each process calls first.
        limits: What each may take; memory 0: its share of what its machine has when it starts.
    """

    def __init__(
        self, address: str, device: str, processes: int | str, threads: int, start: Callable[[], object], limits: Limits
    ) -> None:
        self._address, self._device, self._processes, self._threads = address, device, processes, threads
        self._start, self._limits = start, limits
        self._own = False

    @cached_property
    def _ray(self) -> Any:
        """Ray, connected: not before there is work, for a cluster takes seconds to start.

        Raises:
            UserError: Ray is not installed.
            TryAgainError: There is no cluster at the address.
        """
        ray = _ray(bool(self._address))
        self._own = not ray.is_initialized()
        if self._own:
            _connect(ray, self._address, self._processes, self._threads)
        return ray

    @cached_property
    def size(self) -> int:
        """How many there are at most.

        Raises:
            UserError: The cluster has no such device.
        """
        if self._device == "cuda":
            held = sum(int(node.get("GPU", 0)) for node in self._nodes)
        else:
            held = sum(int(node.get("CPU", 0) // self._threads) for node in self._nodes)
        if not held:
            what = "GPU" if self._device == "cuda" else f"machine with {self._threads} cores"
            raise UserError(
                f"The Ray cluster has no {what}.", "See `ray status`, and `threads` and `run.devices` in params.yaml."
            )
        few = isinstance(self._processes, int) and self._device != "cuda"
        return min(held, int(self._processes)) if few else held

    @property
    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    @cached_property
    def _actor(self) -> Any:
        needs = {"num_gpus": 1, "num_cpus": 0} if self._device == "cuda" else {"num_cpus": self._threads}
        options = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        return self._ray.remote(**options, **needs)(_actor_class())

    @cached_property
    def _made_of(self) -> bytes:
        environment = {name: value for name, value in os.environ.items() if name.startswith(SHARED)}
        share = math.ceil(self.size / len(self._nodes))
        return pickle.dumps((pickle.dumps(self._start), self._limits, environment, share))

    def start(self, place: int) -> "_Remote":
        """Start one; it counts as there until it should have answered."""
        paths = [os.path.abspath(path) for path in sys.path]
        return _Remote(self._ray, self._actor.remote(os.getcwd(), paths, self._made_of))

    def listen(self, hands: "Sequence[_Remote]", seconds: float) -> "Iterator[tuple[_Remote, Sequence[Any]]]":
        """What they tell."""
        waiting = {hand.ask(): hand for hand in hands}
        ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=seconds)
        if len(waiting) > 1:
            ready, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        for answer, hand in waiting.items():
            if messages := hand.answered() if answer in ready else hand.silent():
                yield hand, messages

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        if self._own:
            self._ray.shutdown()


class _Remote:
    """An actor of Ray with its worker process, as `Hand`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self._outbox: list[tuple[bool, bytes]] = []
        self._answer: Any = None
        self._asked = time.monotonic()
        self._patience = START

    def order(self, message: bytes) -> None:
        """Send what it is to do, with the next question."""
        self._outbox.append((True, message))

    def send(self, message: bytes) -> None:
        """Send an answer, with the next question."""
        self._outbox.append((False, message))

    def ask(self) -> Any:
        """Ask what the process has told, unless that was asked already; what Ray can wait for."""
        if self._answer is None:
            self._answer = self._actor.exchange.remote(self._outbox)
            self._outbox, self._asked = [], time.monotonic()
        return self._answer

    def answered(self) -> Sequence[Any]:
        """The answer."""
        answer, self._answer = self._answer, None
        try:
            content = self._ray.get(answer, timeout=SILENCE)
        except (self._ray.exceptions.RayError, TimeoutError) as error:
            return [Ended(f"its machine or its actor is lost ({_first_line(error)})", blameless=True)]
        self._patience = SILENCE
        messages: list[Any] = pickle.loads(content)  # noqa: S301  # our own actor sent it
        return messages

    def silent(self) -> Sequence[Any]:
        """That it is lost, if the answer should have come."""
        if time.monotonic() - self._asked < self._patience:
            return []
        return [Ended(f"its machine did not answer for {self._patience:g} s", blameless=True)]

    def end(self) -> None:
        """Kill the actor; its process goes with it."""
        self._ray.kill(self._actor, no_restart=True)


def _actor_class() -> type:
    """The class of the actors. It travels as it is: our package need not be on the path of Ray's own processes."""

    class Host:
        def __init__(self, folder: str, paths: list[str], made_of: bytes) -> None:
            os.chdir(folder)
            sys.path += [path for path in paths if path not in sys.path]
            import psutil

            from pipeline.engines.supervised import Limits, Supervised

            start, limits, environment, share = pickle.loads(made_of)  # noqa: S301  # our own driver sent it
            memory = limits.memory or int(0.9 * psutil.virtual_memory().available / share)
            self._process = Supervised(start, Limits(limits.seconds, memory), environment)

        def exchange(self, messages: list[tuple[bool, bytes]]) -> bytes:
            from multiprocessing.connection import wait

            for is_order, content in messages:
                (self._process.order if is_order else self._process.send)(content)
            wait([self._process.connection], TURN)
            return pickle.dumps(self._process.look())

    return Host


def _connect(ray: Any, address: str, processes: int | str, threads: int) -> None:
    wanted = threads * processes if isinstance(processes, int) else threads
    ours = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    how = (
        {"address": address}
        if address
        else {"address": "local", "num_cpus": max(available_cores(), wanted), "include_dashboard": False}
    )
    try:
        ray.init(**how, log_to_driver=False, logging_level="error", configure_logging=True)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise TryAgainError(
            f"There is no Ray cluster at {address or 'this machine'} ({_first_line(error)}).",
            "Start one with `ray start --head`, and correct run.address, or leave it empty.",
        ) from error
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


def _ray(elsewhere: bool) -> Any:
    # Ray makes its processes nice, so that they would be last on a machine that does other things as well; and it would
    # leave its token in the home folder. It reads this once, when it is imported.
    defaults = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    if not elsewhere:
        defaults |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UserError(
            "run.engine is ray, and Ray is not installed.", "Run `pip install 'mcr-connect[ray]'`."
        ) from error
    return ray


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
