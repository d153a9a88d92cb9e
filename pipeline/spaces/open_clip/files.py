"""Where the weights of an OpenCLIP space lie, and how the library is made to read them: safely, and the right ones."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import open_clip
from torch import nn

from pipeline.errors import UserError
from pipeline.hashing import sha256_file
from pipeline.spaces.protocol import SpaceSpec
from pipeline.spaces.weights.checkpoint_files import Checkpoint, checkpoint_files, find_checkpoint, refuse_pointer
from pipeline.spaces.weights.checkpoints import tensors_of
from pipeline.spaces.weights.hub import HUB

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"  # read first, where a folder holds others as well
FOLDER = "local-dir:"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
NUMPY_SUFFIXES = (".npz", ".npy")  # SigLIP as its authors publish it; OpenCLIP converts it itself
# Numbers in OpenAI's programs that say what the model is like, and are not weights.
PROGRAM_CONSTANTS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class OpenClipFiles:
    """What OpenCLIP is to load.

    Attributes:
        name: The model as OpenCLIP takes it: an architecture, ``local-dir:`` and a folder, or ``hf-hub:`` and a name.
        weights: The weights on this machine; empty for a tag or hub name.
        tag: The pretrained tag of the architecture, where there are no such weights.
    """

    name: str
    weights: str = ""
    tag: str | None = None

    @classmethod
    def of(cls, spec: SpaceSpec) -> "OpenClipFiles":
        """Find what `spec` means.

        Raises:
            UserError: Files are missing, or an architecture is.
        """
        path, architecture = Path(spec.checkpoint), spec.model.replace("/", "-")
        if path.is_dir():
            return cls._of_folder(path, architecture)
        if spec.checkpoint.startswith(HUB):
            return cls(spec.checkpoint)
        if not spec.model:
            raise UserError(
                f"There is no OpenCLIP folder {spec.checkpoint!r}, and no model is given for a file or tag.",
                "Correct the checkpoint in params.yaml, or set the model to its architecture.",
            )
        if not path.is_file():
            if "/" in spec.checkpoint or path.suffix:
                raise UserError(f"There is no checkpoint {spec.checkpoint!r}.", "Correct its path in params.yaml.")
            return cls(architecture, tag=spec.checkpoint)
        return cls(architecture, str(path))

    @classmethod
    def _of_folder(cls, folder: Path, architecture: str) -> "OpenClipFiles":
        if architecture and not (folder / CONFIG).is_file():
            return cls(architecture, str(checkpoint_files(str(folder))[0]))
        if not (folder / CONFIG).is_file():
            raise UserError(
                f"The OpenCLIP folder {folder} has no {CONFIG}.",
                "Complete it, name another one, or give its only file of weights a `model`.",
            )
        try:
            weights = folder / WEIGHTS if (folder / WEIGHTS).is_file() else checkpoint_files(str(folder))[0]
        except UserError as error:
            raise UserError(f"The OpenCLIP folder {folder} has no {WEIGHTS}. {error.message}", error.hint) from None
        return cls(f"{FOLDER}{folder.absolute()}", str(weights))

    @property
    def config(self) -> Path | None:
        """The configuration of a folder."""
        return Path(self.name.removeprefix(FOLDER), CONFIG) if self.name.startswith(FOLDER) else None

    def paths(self) -> list[Path]:
        """Every file that is read.

        Raises:
            UserError: A file is missing, or is a pointer of git-lfs.
        """
        if not self.weights:
            return []
        weights = [Path(self.weights)] if self.weights.endswith(NUMPY_SUFFIXES) else checkpoint_files(self.weights)
        if self.config is None:
            return weights
        beside = [self.config, *(self.config.with_name(name) for name in TOKENIZER)]
        return weights + [path for path in beside if path.is_file()]

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the weights and, for a folder, of its configuration; nothing for a tag or hub name."""
        if not self.weights:
            return {}
        found = {"weights": self._checkpoint().sha256}
        return found | ({"config": sha256_file(self.config)} if self.config else {})

    def _checkpoint(self) -> Checkpoint:
        if self.weights.endswith(NUMPY_SUFFIXES):
            refuse_pointer(Path(self.weights))
            return Checkpoint(Path(self.weights), sha256_file(Path(self.weights)))
        return find_checkpoint(self.weights)


def build_model(files: OpenClipFiles, options: Mapping[str, object]) -> nn.Module:
    """The model with its weights, on the CPU."""
    if not files.weights:
        model: nn.Module = open_clip.create_model(
            files.name, files.tag, require_pretrained=files.tag is not None, **options
        )
        return model
    with _without_its_warning():
        model = open_clip.create_model(files.name, load_weights=False, pretrained_text=False, **options)
    if files.weights.endswith(NUMPY_SUFFIXES):
        open_clip.factory.load_checkpoint(model, files.weights)
        return model
    # The library's own conversions of old layouts, on tensors that were read our way.
    with _reads_safely(files):
        open_clip.factory.load_checkpoint(model, files.weights)
    return model


@contextmanager
def _reads_safely(files: OpenClipFiles) -> Iterator[None]:
    tensors = tensors_of(checkpoint_files(files.weights))
    for name in PROGRAM_CONSTANTS:
        tensors.pop(name, None)
    theirs = open_clip.factory.load_state_dict
    open_clip.factory.load_state_dict = lambda *_, **__: tensors
    try:
        yield
    finally:
        open_clip.factory.load_state_dict = theirs


@contextmanager
def _without_its_warning() -> Iterator[None]:
    """The library says that a model without weights is random, which it is for a moment."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
