"""The laion_clap library, imported and built without the network and without a trace on the rest of the process."""

import importlib
import logging
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import UserError
from pipeline.hashing import sha256_file, sha256_json

ROBERTA = ("roberta-base", "FacebookAI/roberta-base")  # the name that laion_clap uses, and where the Hub keeps it now
NEEDED = ("config.json", "vocab.json", "merges.txt")
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
FUSION = "aff_2d"  # what the public fusion models were trained with
_ABSENT = object()


@contextmanager
def _contained() -> Iterator[None]:
    """Undo what the libraries do to their host: a folder on `sys.path`, a log handler, draws from global generators."""
    path, arguments = list(sys.path), list(sys.argv)
    level, handlers = logging.root.level, list(logging.root.handlers)
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside the libraries, which nobody here can act upon
            yield
    finally:
        sys.path[:], sys.argv[:] = path, arguments
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@_contained()
def roberta_folder(checkpoint: Path | None = None) -> Path:
    """The folder with RoBERTa's tokenizer and configuration: ``roberta-base`` beside the checkpoint, or else in the
    Hugging Face cache. Its weights are not needed: the CLAP checkpoint holds the whole text tower.

    Args:
        checkpoint: The file of weights, or its folder.

    Raises:
        UserError: A file is in neither.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if checkpoint and (beside := _beside(checkpoint)).is_dir():
        return beside
    cache = constants.HF_HUB_CACHE
    missing: list[str] = []
    for repository in reversed(ROBERTA):
        found = {name: try_to_load_from_cache(repository, name, cache_dir=cache) for name in NEEDED}
        missing = [name for name, path in found.items() if not isinstance(path, str)]
        if not missing:
            return Path(str(found["vocab.json"])).parent
    folder = _beside(checkpoint) if checkpoint else ROBERTA[0]
    raise UserError(
        f"CLAP needs the tokenizer of {ROBERTA[0]}: there is no {folder}, and the Hugging Face cache {cache} lacks its "
        f"{', '.join(missing)}.",
        f"Where there is a network, run `mcr fetch`, or `hf download {ROBERTA[0]} {' '.join(NEEDED)} "
        "tokenizer_config.json`; for a machine without one, copy that folder or that cache to it and set HF_HOME.",
    )


def _beside(checkpoint: Path) -> Path:
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    return folder / ROBERTA[0]


def tokenizer_files(folder: Path) -> list[Path]:
    """The files in `folder` that decide what the tokenizer does, and the configuration of the text tower.

    Raises:
        UserError: One that is needed is missing.
    """
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise UserError(f"The folder {folder} lacks {', '.join(missing)}.", "Complete it, or remove it.")
    return [folder / name for name in (NEEDED[0], *TOKENIZER_FILES) if (folder / name).is_file()]


@_contained()
def load_tokenizer(folder: Path) -> Any:
    """RoBERTa's tokenizer from the files in `folder`.

    Raises:
        UserError: The files are damaged; some damages give an empty tokenizer rather than an error.
    """
    from transformers import RobertaTokenizer

    tokenizer_files(folder)
    try:
        tokenizer = RobertaTokenizer.from_pretrained(str(folder), local_files_only=True)
        damage = "" if len(tokenizer) >= 256 else f"it has {len(tokenizer)} tokens"
    except Exception as error:  # version 5 of the library raises bare ones
        damage = str(error)
    if damage:
        raise UserError(
            f"The tokenizer in {folder} is damaged: {damage}.",
            f"Remove that folder and run `hf download {ROBERTA[0]} {' '.join(NEEDED)}` again.",
        )
    return tokenizer


def tokenizer_sha256(folder: Path) -> str:
    """Hash of the files that decide what the tokenizer does."""
    return sha256_json({name: sha256_file(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()})


@_contained()
def build_clap(model: str, fusion: bool, roberta: Path) -> torch.nn.Module:
    """CLAP with weights drawn at random, by the library's own factory, on the CPU.

    Args:
        model: Audio tower, ``HTSAT-tiny`` or ``HTSAT-base``.
        fusion: Whether it takes four views of the spectrogram.
        roberta: Folder with the configuration of the text tower.

    Raises:
        UserError: The library is not installed.
    """
    with ExitStack() as stack:
        try:
            import transformers

            # On import three tokenizers are fetched from the Hub. We need one, and load it ourselves.
            for name in ("BertTokenizer", "RobertaTokenizer", "BartTokenizer"):
                stack.enter_context(_replaced(getattr(transformers, name), "from_pretrained", lambda *_, **__: None))
            hook = importlib.import_module("laion_clap.hook")
        except ImportError as error:
            raise UserError(
                f"The library laion_clap cannot be imported: {error}.",
                "Run `pip install 'mcr-connect[clap]'`.",
            ) from error
        text_tower: Any = transformers.RobertaModel
        configuration = transformers.RobertaConfig.from_json_file(str(roberta / "config.json"))
        # The factory would fetch RoBERTa's weights (500 MB), which the checkpoint replaces.
        stack.enter_context(_replaced(text_tower, "from_pretrained", lambda _: text_tower(configuration)))
        clap, _ = hook.create_model(
            model, "roberta", device=torch.device("cpu"), enable_fusion=fusion, fusion_type=FUSION if fusion else "None"
        )
    built: torch.nn.Module = clap.eval().requires_grad_(False)
    return built


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = vars(owner).get(name, _ABSENT)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _ABSENT:
            delattr(owner, name)  # it was, and is again, inherited
        else:
            setattr(owner, name, before)
