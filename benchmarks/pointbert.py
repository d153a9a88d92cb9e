"""Where the time of the 3D tower goes: sampling, neighbours and groups, mini-PointNet, transformer.

    python benchmarks/pointbert.py [--clouds 8] [--points 8192] [--repeats 3] [--precision fp32] [--device cpu]

Prints the best time of all repeats in milliseconds per cloud and its share, part by part. Weights and clouds are random;
the time depends on neither.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # also runs on a machine where the package is not installed

from pipeline.precision import PRECISIONS, multiplying
from pipeline.spaces.ulip2.farthest import farthest_points
from pipeline.spaces.ulip2.pointbert import GROUPS, NEIGHBOURS, PointBert, cut_groups

Result = TypeVar("Result")


class Clock:
    """Times steps on one device and remembers the best time of each."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device = device
        self.repeats = repeats
        self.seconds: dict[str, float] = {}

    def time(self, name: str, step: Callable[[], Result]) -> Result:
        """Run `step` once to warm up, then `repeats` times."""
        result = step()
        times = []
        for _ in range(self.repeats):
            self._wait()
            started = perf_counter()
            result = step()
            self._wait()
            times.append(perf_counter() - started)
        self.seconds[name] = min(times)
        return result

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@torch.inference_mode()
@multiplying()
def measure(device: torch.device, clouds: int, points: int, repeats: int, precision: str) -> dict[str, float]:
    """Best seconds of each part for one batch of `clouds` with `points` each."""
    model = PointBert().eval().to(device, PRECISIONS[precision])
    xyz = torch.randn(clouds, points, 3, generator=torch.Generator().manual_seed(0)).to(device)
    clock = Clock(device, repeats)
    chosen, squared = clock.time("farthest-point sampling", lambda: farthest_points(xyz, GROUPS))
    centres, groups = clock.time("neighbours and groups", lambda: cut_groups(xyz, chosen, squared, NEIGHBOURS))
    tokens = clock.time("mini-PointNet", lambda: model.tokenize(groups))
    clock.time("transformer", lambda: model.transform(tokens, centres))
    return clock.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clouds", type=int, default=8)
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    device = torch.device(given.device)
    seconds = measure(device, given.clouds, given.points, given.repeats, given.precision)
    total = sum(seconds.values())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, {given.precision}: {given.clouds} clouds of {given.points} points")
    for part, time in seconds.items():
        print(f"  {part:<24} {1e3 * time / given.clouds:9.2f} ms per cloud {time / total:6.1%}")
    print(f"  {'whole tower':<24} {1e3 * total / given.clouds:9.2f} ms per cloud, {given.clouds / total:.1f} clouds/s")


if __name__ == "__main__":
    main()
