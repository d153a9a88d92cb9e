"""Meshes as point clouds: points drawn evenly from their surface."""

import io
import re

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SampleError
from pipeline.shard.limits import MAX_FACES

_FACES = re.compile(rb"^element\s+face\s+0*[1-9]", re.MULTILINE)
_MAX_HEADER = 65_536


def has_faces(ply: bytes) -> bool:
    """Whether a `.ply` file is a mesh rather than a point cloud, from its header."""
    return bool(_FACES.search(ply[: max(ply.find(b"end_header", 0, _MAX_HEADER), 0)]))


def sample_mesh(content: bytes, extension: str, count: int, seed: int) -> NDArray[np.float64]:
    """Points [count, 3] drawn evenly from the surface of a mesh.

    A face is drawn with a probability that is proportional to its area, then a point evenly within it. The same
    content, count and seed give the same points, whatever the version of the reading library.

    Args:
        content: Bytes of the file.
        extension: Its format: ``obj``, ``off``, ``glb`` or ``ply``.
        count: Points to draw.
        seed: Of this mesh's own generator.

    Raises:
        SampleError: It is not a mesh, a damaged one, or one without a surface.
    """
    triangles = _triangles(content, extension)
    first, second, third = triangles.swapaxes(0, 1)
    areas = np.linalg.norm(np.cross(second - first, third - first), axis=1) / 2
    total = np.cumsum(areas)
    if not len(total) or not np.isfinite(total[-1]) or total[-1] <= 0:
        raise SampleError("decode", "a mesh without a surface, or with values that are not finite")
    generator = np.random.default_rng(seed)
    chosen = np.minimum(np.searchsorted(total, generator.random(count) * total[-1], side="right"), len(total) - 1)
    along, across = generator.random((2, count, 1))
    # Draws beyond the diagonal of the parallelogram are folded back into the triangle.
    beyond = along + across > 1
    along, across = np.where(beyond, 1 - along, along), np.where(beyond, 1 - across, across)
    corner = first[chosen]
    points: NDArray[np.float64] = corner + along * (second[chosen] - corner) + across * (third[chosen] - corner)
    return points


def _triangles(content: bytes, extension: str) -> NDArray[np.float64]:
    """Corners [F, 3, 3] of the faces of all meshes of a file, each where its scene puts it."""
    import trimesh

    try:
        # No resolver: a mesh cannot name other files to be read.
        scene = trimesh.load_scene(
            io.BytesIO(content), file_type=extension, process=False, skip_materials=True, allow_remote=False
        )
        meshes = {name: mesh for name, mesh in scene.geometry.items() if isinstance(mesh, trimesh.Trimesh)}
        placed = [scene.graph[node] for node in scene.graph.nodes_geometry]
        # A small file can place one mesh a million times.
        if sum(len(meshes[name].faces) for _, name in placed if name in meshes) > MAX_FACES:
            raise SampleError("decode", f"a mesh of more than {MAX_FACES} faces")
        found = [
            (meshes[name].vertices @ turn[:3, :3].T + turn[:3, 3])[meshes[name].faces]
            for turn, name in placed
            if name in meshes and len(meshes[name].faces)  # without any, their array has another shape
        ]
    except SampleError:
        raise
    except Exception as error:  # each of trimesh's formats raises errors of its own
        raise SampleError("decode", f"damaged mesh ({type(error).__name__})") from error
    return np.concatenate([np.empty((0, 3, 3)), *found]).astype(np.float64)
