"""A decoded point cloud made ready for a model: coordinates normalised, and exactly as many points as it takes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SampleError, UserError
from pipeline.spaces.ulip2.farthest import farthest_of_cloud

Array = NDArray[np.float32]

SAMPLED = "sampled_unit_sphere"
NORMALISATIONS = {
    "none": "as in the file",
    "unit_sphere": "centroid at the origin, largest radius 1",
    SAMPLED: "of the points that are taken: centroid at the origin, largest radius 1",
    "box": "centre of the bounding box at the origin, largest radius 1",
}
SAMPLINGS = ("random", "farthest", "first")

# Farthest-point sampling looks at every point for each point it takes; larger clouds are thinned at random first.
FARTHEST_AMONG = 100_000


@dataclass(frozen=True)
class CloudSettings:
    """What is done to a cloud.

    Attributes:
        points: Points of every prepared cloud.
        sampling: Which of more points stay: ``random``, ``farthest`` from each other, or the ``first`` of the file.
        normalisation: A key of `NORMALISATIONS`; done before sampling, so on all points of the file, but for
            `SAMPLED`: ULIP's program takes ModelNet40's points first.
    """

    points: int = 8192
    sampling: str = "random"
    normalisation: str = "unit_sphere"

    def __post_init__(self) -> None:
        for what, value, choices in (
            ("sampling", self.sampling, SAMPLINGS),
            ("normalisation", self.normalisation, tuple(NORMALISATIONS)),
        ):
            if value not in choices:
                raise UserError(f"The option {what} is {value!r}.", f"Choose one of: {', '.join(choices)}.")


def prepare_cloud(points: Array, settings: CloudSettings, seed: int) -> Array:
    """The coordinates [P, 3] of a cloud [N, 3 or more], of which further columns such as colours are dropped.

    A cloud of fewer points is repeated whole as often as fits, then filled up with points drawn without repetition,
    so that no point counts more than once more than another.

    Args:
        points: The decoded cloud.
        settings: What to do with it.
        seed: Of the draws; derived from the content of the file, so that a cloud always gives the same points.

    Raises:
        SampleError: All points coincide and a scale is asked for.
    """
    xyz, how = points[:, :3].astype(np.float64), settings.normalisation
    if how == SAMPLED:
        return _normalise(_taken(xyz.astype(np.float32), settings, seed).astype(np.float64), how).astype(np.float32)
    return _taken(_normalise(xyz, how).astype(np.float32), settings, seed)


def _taken(xyz: Array, settings: CloudSettings, seed: int) -> Array:
    generator = np.random.default_rng(seed)
    have, want = len(xyz), settings.points
    if have <= want:
        fill = np.sort(generator.choice(have, want % have, replace=False))
        return xyz[np.concatenate([np.tile(np.arange(have), want // have), fill])]
    if settings.sampling == "first":
        return xyz[:want]
    if settings.sampling == "random":
        return xyz[np.sort(generator.choice(have, want, replace=False))]
    if have > FARTHEST_AMONG:
        xyz = xyz[np.sort(generator.choice(have, max(FARTHEST_AMONG, want), replace=False))]
    return xyz[farthest_of_cloud(xyz, want)]


def _normalise(xyz: NDArray[np.float64], how: str) -> NDArray[np.float64]:
    if how == "none":
        return xyz
    centre = xyz.mean(axis=0) if how != "box" else (xyz.min(axis=0) + xyz.max(axis=0)) / 2
    xyz = xyz - centre
    radius = np.sqrt(np.square(xyz).sum(axis=1).max())
    if not radius > 0:
        raise SampleError("preprocess", "all points of the cloud coincide, so that it has no size")
    return np.asarray(xyz / radius)
