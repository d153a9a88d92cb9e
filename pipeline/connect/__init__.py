"""Projectors and the connected space: what `train` produces and everyone else uses."""

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.connect.embed import embed_files, embed_payloads
from pipeline.connect.projectors import PROJECTORS, ProjectorSpec, build_projector

__all__ = ["PROJECTORS", "ConnectedSpace", "ProjectorSpec", "build_projector", "embed_files", "embed_payloads"]
