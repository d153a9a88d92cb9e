"""Files that a space decodes on its own device, many at a time; those that it cannot are decoded as for every other space."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from pipeline.encode.decoders import Decoded, Decoder, Files, host_decoder
from pipeline.encode.slots import Runs, Slots
from pipeline.errors import SampleError
from pipeline.spaces import Space
from pipeline.store.shards import Extent, read_extents

# Files to their samples, which are on the device when it returns; None for each that has to be decoded elsewhere.
Together = Callable[[Sequence[bytes]], list[Tensor | None]]
# Files that are decoded together: what a call costs is divided among them, and a GPU has work for all of its decoders.
LIST = 64


def decoder_of(
    space: Space,
    modality: str,
    workers: int,
    apart: bool,
    slots: Callable[[int], int],
    device: str,
    stack: ExitStack,
) -> tuple[Decoder, Slots | None]:
    """What decodes files of `modality` for `space`: on the device of a space that says how (``on_device``, by modality),
    or see `host_decoder`."""
    together: Together | None = getattr(space, "on_device", {}).get(modality)
    if not together:
        return host_decoder(space, modality, workers, apart, slots, device, stack)
    others, _ = host_decoder(space, modality, workers, apart, None, device, stack)
    return DeviceFirst(together, others, torch.device(getattr(space, "device", device))), None


class DeviceFirst:
    """Decodes files on a device; those that cannot be are left to `others`.

    Args:
        together: See `Together`.
        others: Decodes what is left.
        device: Where all samples come to lie.
    """

    def __init__(self, together: Together, others: Decoder, device: torch.device) -> None:
        self.together, self.others, self.device = together, others, device

    def __call__(self, files: Files) -> Decoded:
        """Samples on the device, in the order of the files."""
        found = self.together(read_extents(files.path, [Extent(*each) for each in files.extents.tolist()]))
        left = [number for number, sample in enumerate(found) if sample is None]
        rejected: dict[int, SampleError] = {}
        transparent = 0
        if left:
            rest = self.others(Files(files.path, [files.keys[number] for number in left], files.extents[left], None))
            rejected, transparent = {left[place]: error for place, error in rest.rejected.items()}, rest.transparent
            good = [number for number in left if number not in rejected]
            for number, sample in zip(good, self._moved(rest.samples), strict=True):
                found[number] = sample
        return Decoded([sample for sample in found if sample is not None], rejected, transparent)

    def _moved(self, samples: Runs | list[Tensor]) -> Iterable[Tensor]:
        assert isinstance(samples, list)  # there were no slots for them
        if self.device.type == "cpu" or not samples:
            return samples
        return torch.stack(samples).to(self.device)  # one copy waits for the model, and not each
