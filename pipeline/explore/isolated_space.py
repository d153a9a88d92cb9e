"""A frozen space whose decoding happens in processes of their own: a bad upload costs itself, not the server."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.decode.isolated import Isolated, Limits
from pipeline.hashing import sha256_json
from pipeline.modalities import TEXT
from pipeline.spaces import Fingerprint, Space

Job = tuple[str, str, bytes]


class Decoders:
    """Processes that decode for several frozen spaces; forked at once, so that they hold what is loaded by now.

    Args:
        spaces: By name, what `preprocess` is asked of.
        limits: Of each call.
    """

    def __init__(self, spaces: Mapping[str, Space], limits: Limits | None = None) -> None:
        self._spaces = dict(spaces)
        self._apart: Isolated[Job, NDArray[np.generic]] = Isolated(
            self._decode, 1, limits, lambda: torch.set_num_threads(1)
        )
        self._apart.start()

    def _decode(self, job: Job) -> NDArray[np.generic]:
        name, modality, payload = job
        return self._spaces[name].preprocess(modality, payload).numpy()

    def __call__(self, name: str, modality: str, payload: bytes) -> Tensor:
        """What `preprocess` of the space `name` makes of `payload`.

        Raises:
            SampleError: The bytes cannot be used.
        """
        if modality == TEXT:  # no foreign decoder reads it
            return self._spaces[name].preprocess(modality, payload)
        return torch.from_numpy(self._apart.one((name, modality, payload)))

    def close(self) -> None:
        """End the processes."""
        self._apart.close()


class IsolatedSpace:
    """A `Space` that decodes elsewhere and is otherwise the one that it is made of."""

    def __init__(self, name: str, space: Space, decoders: Decoders) -> None:
        self._name, self._space, self._decoders = name, space, decoders
        self.modalities, self.dimension = space.modalities, space.dimension

    def fingerprint(self, modality: str) -> Fingerprint:
        """See `Space`."""
        return self._space.fingerprint(modality)

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """See `Space`."""
        return self._decoders(self._name, modality, payload)

    def encode(self, modality: str, batch: Tensor) -> Tensor:
        """See `Space`."""
        return self._space.encode(modality, batch)


def share_frozen_spaces(spaces: Sequence[ConnectedSpace]) -> Decoders:
    """Load every frozen space once, whichever connections use it, and let others decode for it."""
    loaded: dict[str, Space] = {}
    for connected in spaces:
        for name, record in connected.config.spaces.items():
            identity = sha256_json(record.spec)
            if identity not in loaded:
                loaded[identity] = connected.frozen_space(name)
    decoders = Decoders(loaded)
    for connected in spaces:
        for name, record in connected.config.spaces.items():
            identity = sha256_json(record.spec)
            connected.use_frozen(name, IsolatedSpace(identity, loaded[identity], decoders))
    return decoders
