"""JPEGs decoded and resized on the device of a space, many at a time: by nvJPEG on a GPU, by libjpeg on a CPU."""

import io
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Lock

import torch
from open_clip.transform import PreprocessCfg
from PIL import Image
from torch import Tensor

from pipeline.decode.images import MAX_PIXELS, decode_image
from pipeline.decode.jpeg_header import JpegHeader, plain_jpeg
from pipeline.errors import UserError
from pipeline.spaces.open_clip.list_size import ListSize
from pipeline.spaces.open_clip.resize import Resizer

log = logging.getLogger(__name__)
# Of pictures that are decoded together, and of what they are resized to. On a GPU, resizing takes some 20 bytes of memory
# for each; on a CPU they are to stay in its cache until then.
MOST_PIXELS, MOST_IN_CACHE = 32_000_000, 1_000_000
# That a decoder goes over for one picture, in all of its scans: it cannot be interrupted here, as it can in a process.
MOST_WORK = 256_000_000
# Of 255, on average: how far from Pillow's the pictures may be by which the decoder is checked.
CHECKED = 4.0
# What torch says, and the number that nvJPEG gives back.
_NO_MEMORY = re.compile(r"out of memory|Failed to [a-z ]+: 5\b", re.IGNORECASE)


class JpegDecoder:
    """Decodes what every decoder of JPEG reads alike, on one device, and leaves everything else to others.

    Args:
        config: Of the model.
        device: Where pictures are decoded and stay.

    Raises:
        UserError: torchvision cannot decode there, or not as it should; or the model's pictures are not resized in a way
            that torch has.
    """

    def __init__(self, config: PreprocessCfg, device: str) -> None:
        self.device = torch.device(device)
        self.resizer = Resizer(config, "torch")
        # A GPU is slow to start on each picture. A CPU would only copy them.
        self.stacks = self.device.type == "cuda"
        self.list_size = ListSize(MOST_PIXELS if self.stacks else MOST_IN_CACHE)
        self._told, self._alone = False, Lock()
        self._check()

    def __call__(self, payloads: Sequence[bytes]) -> list[Tensor | None]:
        """The pictures in files as bytes [3, H, W] on the device, resized and there; None for each that others have to
        decode. Several threads may call it, which take turns on a GPU.

        Raises:
            UserError: One of them does not fit into the memory of the GPU.
        """
        found: list[Tensor | None] = [None] * len(payloads)
        pixels = [self._pixels(plain_jpeg(payload)) for payload in payloads]
        for numbers in self._lists(pixels):
            pictures = self._pictures(
                [_bytes(payloads[number]) for number in numbers], sum(pixels[number] for number in numbers)
            )
            for number, picture in zip(numbers, pictures, strict=True):
                found[number] = picture
        return found

    def _pixels(self, header: JpegHeader | None) -> int:
        """Of a picture before and after it is resized; 0 if others have to decode it."""
        if not header:
            return 0
        decoded, resized = header.width * header.height, self.resizer.pixels(header.width, header.height)
        left = max(decoded, resized) > MAX_PIXELS or decoded * header.scans > MOST_WORK
        return 0 if left else decoded + resized

    def _lists(self, pixels: Sequence[int]) -> Iterator[list[int]]:
        """Numbers of the files that are decoded together, which have `pixels`."""
        numbers: list[int] = []
        together = 0
        for number, own in enumerate(pixels):
            if not own:
                continue
            if numbers and together + own > self.list_size.pixels:
                yield numbers
                numbers, together = [], 0
            numbers.append(number)
            together += own
        if numbers:
            yield numbers

    def _pictures(self, files: list[Tensor], pixels: int) -> list[Tensor | None]:
        """The pictures in files that are decoded together and have about `pixels`, or in halves of them if that fails: the
        fault is of one."""
        pictures, reason = self._try(files)
        if not reason:
            self.list_size.fits()
            return [*pictures]
        if full := self.device.type == "cuda" and bool(_NO_MEMORY.search(reason)):
            torch.cuda.empty_cache()
            self.list_size.too_many(pixels)
        if len(files) > 1:
            middle = len(files) // 2
            halves = files[:middle], files[middle:]
            return [picture for half in halves for picture in self._pictures(half, pixels // 2)]
        if full:
            raise UserError(
                "A single picture does not fit into the memory of the GPU that decodes it, beside the model.",
                "Close other programs that use it, set a smaller `batch_size`, or leave the option `jpeg: device` out.",
            )
        if not self._told:
            self._told = True
            log.info("torchvision refuses a JPEG on %s, it is left to the next decoder: %s", self.device, reason)
        return [None]

    def _try(self, files: list[Tensor]) -> tuple[list[Tensor], str]:
        """The pictures in `files`, or why they cannot be decoded together. Only when this function has returned is the
        traceback gone, which holds what had been allocated."""
        try:
            # Not at the top: what decodes JPEGs is to leave torchvision.
            from torchvision.io import ImageReadMode, decode_jpeg

            with self._turn():
                return self._resized(decode_jpeg(files, ImageReadMode.RGB, self.device)), ""
        except (RuntimeError, ImportError) as error:
            return [], str(error) or type(error).__name__

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """A turn on the GPU, beside the model's pass and not behind it. Nothing is left to do at either end: nvJPEG writes
        without regard to the stream, into memory that work before it may still be reading."""
        if self.device.type != "cuda":
            yield
            return
        with self._alone, torch.cuda.stream(self._stream):
            self._stream.synchronize()
            yield
            self._stream.synchronize()

    @cached_property
    def _stream(self) -> "torch.cuda.Stream":
        return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def _resized(self, pictures: list[Tensor]) -> list[Tensor]:
        if not self.stacks:
            return [self.resizer.by_torch(picture) for picture in pictures]
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        for number, picture in enumerate(pictures):
            alike[picture.shape].append(number)
        found: dict[int, Tensor] = {}
        for numbers in alike.values():
            found |= zip(
                numbers, self.resizer.by_torch(torch.stack([pictures[number] for number in numbers])), strict=True
            )
        return [found[number] for number in range(len(pictures))]

    def _check(self) -> None:
        """Decode a picture in colour and one in grey, and compare them with what Pillow makes of them."""
        grey = Image.radial_gradient("L")
        images = [Image.merge("RGB", (grey, Image.linear_gradient("L"), grey.rotate(180))), grey]
        files = [_jpeg(image) for image in images]
        pictures, reason = self._try([_bytes(file) for file in files])
        if not reason:
            by_pillow = [self.resizer(decode_image(file)) for file in files]
            apart = [
                (one.cpu().float() - other.float()).abs().mean() for one, other in zip(pictures, by_pillow, strict=True)
            ]
            if max(apart) <= CHECKED:
                return
            reason = f"its pictures differ from Pillow's by {max(apart):.0f} of 255 on average"
        raise UserError(
            f"torchvision cannot decode JPEGs on {self.device}: {reason[:300]}",
            "Install a torchvision that can (with nvJPEG for a GPU), or leave the option `jpeg: device` out.",
        )


def _bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
