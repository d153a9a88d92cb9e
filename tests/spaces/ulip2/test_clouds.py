import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import SampleError, UserError
from pipeline.spaces.ulip2 import clouds
from pipeline.spaces.ulip2.clouds import CloudSettings, prepare_cloud

Array = NDArray[np.float32]


def cloud(points: int, columns: int = 3) -> Array:
    generator = np.random.default_rng(points)
    return (generator.standard_normal((points, columns)) * 3 + 7).astype(np.float32)


def test_unit_sphere_is_centroid_and_largest_radius() -> None:
    points = cloud(50)
    prepared = prepare_cloud(points, CloudSettings(50, normalisation="unit_sphere"), seed=0)
    centred = points.astype(float) - points.astype(float).mean(0)
    np.testing.assert_allclose(prepared, centred / max(np.linalg.norm(row) for row in centred), atol=1e-6)


def test_box_is_the_middle_of_the_bounding_box_and_largest_radius() -> None:
    points = cloud(50)
    prepared = prepare_cloud(points, CloudSettings(50, normalisation="box"), seed=0)
    np.testing.assert_allclose(prepared.min(0), -prepared.max(0), atol=1e-6)
    assert np.linalg.norm(prepared, axis=1).max() == pytest.approx(1)
    assert abs(prepared.mean(0)).max() > 1e-2  # the centroid is elsewhere
    # A cloud that is normalised already, as OpenShape releases them, stays as it is.
    np.testing.assert_allclose(
        prepare_cloud(prepared, CloudSettings(50, normalisation="box"), seed=0), prepared, atol=1e-6
    )


def test_none_leaves_coordinates_and_drops_colours() -> None:
    points = cloud(50, 6)
    np.testing.assert_array_equal(prepare_cloud(points, CloudSettings(50, normalisation="none"), seed=0), points[:, :3])


def test_a_smaller_cloud_is_repeated_evenly() -> None:
    points = cloud(30)
    prepared = prepare_cloud(points, CloudSettings(119, normalisation="none"), seed=0)
    distinct, counts = np.unique(prepared, axis=0, return_counts=True)
    np.testing.assert_array_equal(distinct, np.unique(points, axis=0))
    assert prepared.shape == (119, 3)
    assert set(counts) == {3, 4}


def test_random_draws_follow_the_seed_and_repeat_no_point() -> None:
    points = cloud(500)
    settings = CloudSettings(100, normalisation="none")
    first, again, other = (prepare_cloud(points, settings, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first, axis=0)) == 100


def test_first_takes_the_points_in_their_order() -> None:
    points = cloud(500)
    settings = CloudSettings(100, "first", "none")
    np.testing.assert_array_equal(prepare_cloud(points, settings, seed=0), points[:100])


def test_farthest_takes_the_points_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    points = cloud(60)
    settings = CloudSettings(20, "farthest", "none")
    chosen = [0]
    while len(chosen) < 20:
        gaps = [min(((point - points[index]).astype(float) ** 2).sum() for index in chosen) for point in points]
        chosen.append(int(np.argmax(gaps)))
    np.testing.assert_array_equal(prepare_cloud(points, settings, seed=0), points[chosen])

    monkeypatch.setattr(clouds, "FARTHEST_AMONG", 30)
    thinned = prepare_cloud(points, settings, seed=0)
    assert thinned.shape == (20, 3)
    assert not np.array_equal(thinned, points[chosen])


def test_modelnet_as_ulips_program_prepares_it() -> None:
    """salesforce/ULIP, data/dataset_3d.py: farthest points first, then `pc_normalize` of those that were taken. Its first
    point is drawn; ours is the first of the file."""
    points = np.random.default_rng(3).standard_normal((300, 6)).astype(np.float32) * (1, 2, 0.5, 1, 1, 1) + 5
    taken, distance = [0], np.full(len(points), np.inf)
    for _ in range(255):
        distance = np.minimum(distance, np.square(points[:, :3] - points[taken[-1], :3]).sum(axis=1))
        taken.append(int(distance.argmax()))
    expected = points[taken, :3] - points[taken, :3].mean(axis=0)
    expected /= np.sqrt(np.square(expected).sum(axis=1)).max()
    settings = CloudSettings(256, "farthest", "sampled_unit_sphere")
    np.testing.assert_allclose(prepare_cloud(points.astype(np.float32), settings, 0), expected, atol=1e-6)
    before = prepare_cloud(points.astype(np.float32), CloudSettings(256, "farthest", "unit_sphere"), 0)
    assert np.abs(before - expected).max() > 1e-3, "the order of the two steps is seen in the result"


def test_coinciding_points_are_rejected_where_a_scale_is_needed() -> None:
    points = np.ones((10, 3), np.float32)
    for normalisation in ("unit_sphere", "box"):
        with pytest.raises(SampleError, match="coincide"):
            prepare_cloud(points, CloudSettings(10, normalisation=normalisation), seed=0)
    np.testing.assert_array_equal(prepare_cloud(points, CloudSettings(10, normalisation="none"), seed=0), points)


@pytest.mark.parametrize("wrong", [{"sampling": "poisson"}, {"normalisation": "cube"}])
def test_unknown_choices_are_named(wrong: dict[str, str]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong.values()))):
        CloudSettings(**wrong)  # type: ignore[arg-type]
