"""Frames by their numbers and sounds by their seconds out of one video, as MUSIC-Solo's annotators numbered them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import SampleError
from pipeline.prepare.video import jpeg, pyav, reason, sound_frames, wav

Numbers = Mapping[int, Sequence[int]]
"""By second: numbers of its frames, counted from 0 at the beginning of the video."""


@dataclass(frozen=True)
class Seconds:
    """What was taken.

    Attributes:
        pictures: JPEG files by number of the frame.
        sounds: WAV files by second.
        rate: Frames in a second of the video.
    """

    pictures: Mapping[int, bytes] = field(default_factory=dict)
    sounds: Mapping[int, bytes] = field(default_factory=dict)
    rate: float = 0.0


def take_seconds(path: Path, wanted: Numbers) -> Seconds:
    """The frames and seconds that are `wanted` of a video; those beyond its end are left out.

    Raises:
        UserError: PyAV is not installed.
        SampleError: The file is not a video or has none of the wanted frames or sounds. Or its frame rate is not that of the
            annotated video, so that a number means another picture.
    """
    av = pyav()
    name = str(path.absolute())
    try:
        with av.open(name) as container:
            pictures, rate = _pictures(container, wanted)
        with av.open(name) as container:
            sounds = _sounds(av, container, wanted)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SampleError("decode", reason(path, error)) from error
    return Seconds(pictures, sounds, rate)


def _pictures(container: Any, wanted: Numbers) -> tuple[dict[int, bytes], float]:
    if not container.streams.video:
        raise SampleError("decode", "the file has no pictures")
    stream = container.streams.video[0]
    rate = float(stream.average_rate or 0)
    second_of = {number: second for second, numbers in wanted.items() for number in numbers}
    if not rate:
        raise SampleError("decode", "the video does not say its frame rate")
    odd = next((number for number, second in second_of.items() if int(number / rate) != second), None)
    if odd is not None:
        raise SampleError(
            "decode",
            f"frame {odd} is not in second {second_of[odd]} at {rate:.2f} frames in a second: the annotated video had another rate",
        )
    found, last = {}, max(second_of)
    for number, frame in enumerate(container.decode(stream)):
        if number in second_of:
            found[number] = jpeg(frame)
        if number >= last:
            break
    if not found:
        raise SampleError("decode", f"the video has no frame {min(second_of)}")
    return found, rate


def _sounds(av: Any, container: Any, wanted: Numbers) -> dict[int, bytes]:
    if not container.streams.audio:
        raise SampleError("decode", "the file has no sound")
    stream = container.streams.audio[0]
    rate, pieces, at = int(stream.rate), [], 0
    for time, samples in sound_frames(av, container, stream):
        # What begins late is silent until then.
        if (gap := round(time * rate) - at) > rate // 10:
            pieces.append(np.zeros((gap, samples.shape[1]), np.int16))
            at += gap
        pieces.append(samples)
        at += len(samples)
        if time > max(wanted) + 1:
            break
    wave = np.concatenate(pieces) if pieces else np.zeros((0, 1), np.int16)
    found = {
        second: wav(wave[second * rate : (second + 1) * rate], rate)
        for second in wanted
        if len(wave) >= (second + 1) * rate
    }
    if not found:
        raise SampleError("decode", f"the video has no sound in second {min(wanted)}")
    return found
