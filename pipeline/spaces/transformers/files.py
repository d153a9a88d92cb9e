"""Folders that transformers loads: which of their files decide what a space computes, from the hub or from disk."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.hashing import sha256_file, sha256_json
from pipeline.spaces.weights.checkpoint_files import INDEX_SUFFIX, SAFE_SUFFIX, checkpoint_files, find_checkpoint
from pipeline.spaces.weights.hub import HUB, hub_errors

WEIGHTS = f"model{SAFE_SUFFIX}"
CONFIG = "config.json"
PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
WANTED = (CONFIG, *PREPROCESSING, *TOKENIZER, WEIGHTS, f"{WEIGHTS}{INDEX_SUFFIX}", f"model-*-of-*{SAFE_SUFFIX}")


@dataclass(frozen=True)
class TransformersFolder:
    """One model and its tokenizer and processor.

    Attributes:
        folder: Where they are.
        config: What its ``config.json`` says.
        weights: The file of weights; of several, their index and the shards.
    """

    folder: Path
    config: dict[str, Any]
    weights: list[Path]

    @classmethod
    def of(cls, checkpoint: str) -> "TransformersFolder":
        """Find the folder that `checkpoint` means: itself, or ``hf-hub:owner/name@commit``, fetched where it must be.

        Raises:
            UserError: A file is missing, the weights are not safetensors, or the model brings code of its own.
        """
        folder = _snapshot(checkpoint.removeprefix(HUB)) if checkpoint.startswith(HUB) else Path(checkpoint)
        if not folder.is_dir():
            raise UserError(
                f"There is no folder {checkpoint!r}.",
                f"Name a folder that `save_pretrained` wrote, or {HUB}owner/name@commit.",
            )
        try:
            config = dict(json.loads((folder / CONFIG).read_text()))
        except FileNotFoundError:
            raise UserError(
                f"The folder {folder} has no {CONFIG}.",
                "Put all files of the model there (`mcr fetch` gets those that the recipe names), or name another folder.",
            ) from None
        except (ValueError, TypeError) as error:
            raise UserError(f"{folder / CONFIG} is damaged: {error}", "Fetch it again.") from error
        if "auto_map" in config:
            raise UserError(
                f"The model in {folder} contains its own code ({CONFIG} has auto_map), which is never run here.",
                "Use a model that transformers itself knows, or write a family for it.",
            )
        return cls(folder, config, _weights(folder))

    def paths(self) -> list[Path]:
        """Every file that is read."""
        others = (self.folder / name for name in (CONFIG, *PREPROCESSING, *TOKENIZER))
        return [*self.weights, *(path for path in others if path.is_file())]

    def weights_sha256(self, expected: str) -> str:
        """Hash of the weights; it must be `expected`, unless that is empty."""
        return find_checkpoint(str(self.weights[0]), expected).sha256

    def sha256(self, names: tuple[str, ...]) -> str:
        """Hash of those of the files `names` that are there."""
        present = [name for name in names if (self.folder / name).is_file()]
        return sha256_json({name: sha256_file(self.folder / name) for name in present})


def _weights(folder: Path) -> list[Path]:
    for name in (WEIGHTS, f"{WEIGHTS}{INDEX_SUFFIX}"):
        if (folder / name).is_file():
            return checkpoint_files(str(folder / name))
    raise UserError(
        f"The folder {folder} has no {WEIGHTS}; a pickled file is not loaded, since it can run code.",
        "Use a revision of the repository that has it (the hub's own conversion often waits as a pull request), or load "
        "the model with transformers elsewhere and write it with `save_pretrained`.",
    )


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    if len(revision) != 40 or set(revision) - set("0123456789abcdef"):
        raise UserError(
            f"{HUB}{name} does not say which commit: what the hub has under a name or a tag may change.",
            f"Write {HUB}{repository}@ and the 40 digits of the commit, which the page of the repository shows.",
        )
    wanted = list(WANTED)
    with hub_errors(f"{repository} at {revision[:8]}"):
        try:
            found = snapshot_download(repository, revision=revision, allow_patterns=wanted, local_files_only=True)
            if (Path(found) / CONFIG).is_file():
                return Path(found)
        except LocalEntryNotFoundError:
            pass
        return Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
