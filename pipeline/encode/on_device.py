"""Files that a space decodes on its own device, many at a time; those that it cannot are decoded as for every other space."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Lock

import torch
from torch import Tensor

from pipeline.encode.decoders import Decoded, Decoder, Files, decoder_of
from pipeline.encode.slots import Slots
from pipeline.spaces import Space
from pipeline.store.shards import Extent, read_extents

# Files to their samples on the device, with None for each that has to be decoded elsewhere.
Together = Callable[[Sequence[bytes]], list[Tensor | None]]
# Files that are decoded together: what a call costs is divided among them, and a GPU has work for all of its decoders.
LIST = 64


def decoder_for(
    space: Space, modality: str, workers: int, apart: bool, slots: int, device: str, stack: ExitStack
) -> tuple[Decoder, Slots | None]:
    """What decodes files of `modality` for `space`: on the device of a space that says how (``on_device``, by modality),
    or see `decoder_of`."""
    together: Together | None = getattr(space, "on_device", {}).get(modality)
    decoder, memory = decoder_of(space, modality, workers, apart, 0 if together else slots, device, stack)
    return (
        DeviceFirst(together, decoder, torch.device(getattr(space, "device", device))) if together else decoder
    ), memory


class DeviceFirst:
    """Decodes files on a device, one list after the other on a GPU; those that cannot be are left to `others`.

    Args:
        together: See `Together`.
        others: Decodes what is left.
        device: Where all samples come to lie.
    """

    def __init__(self, together: Together, others: Decoder, device: torch.device) -> None:
        self.together, self.others, self.device = together, others, device
        self._turn = Lock()
        # Of its own, so that pictures are decoded beside the model's pass and not behind it.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, files: Files) -> Decoded:
        """Samples on the device, complete, in the order of the files."""
        payloads = read_extents(files.path, [Extent(*each) for each in files.extents.tolist()])
        with self._on_device():
            found = self.together(payloads)
        left = [number for number, sample in enumerate(found) if sample is None]
        if not left:
            return Decoded([sample for sample in found if sample is not None], {}, 0)
        rest = self.others(Files(files.path, [files.keys[number] for number in left], files.extents[left], None))
        assert isinstance(rest.samples, list)  # there were no slots for them
        good = [number for place, number in enumerate(left) if place not in rest.rejected]
        with self._on_device():
            for number, sample in zip(good, rest.samples, strict=True):
                found[number] = sample.to(self.device)
        rejected = {left[place]: error for place, error in rest.rejected.items()}
        return Decoded([sample for sample in found if sample is not None], rejected, rest.transparent)

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """A turn on the device, at whose end everything is done."""
        if not self._stream:
            yield
            return
        with self._turn, torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()
