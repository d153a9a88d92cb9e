"""What the parameters name and somebody has to put in place: weights, tokenizers, raw data."""

import json
import zipfile
from collections.abc import Callable, Collection, Sequence, Sized
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pipeline.doctor.finding import FAIL, NOTE, OK, Finding
from pipeline.doctor.stages import is_made
from pipeline.errors import McrError, UserError, choice
from pipeline.files.foreign import HEAD_BYTES, foreign
from pipeline.hashing import sha256_file, sha256_json
from pipeline.spaces import SpaceSpec, known_encoders, weight_files
from pipeline.spaces.weights.checkpoints import SAFE_SUFFIX, SUFFIXES
from pipeline.spaces.weights.hub import HUB


def checkpoint(name: str, spec: SpaceSpec, made: Collection[Path]) -> Finding:
    """Are the weights of space `name` there, and are they the expected ones?

    Args:
        name: The space.
        spec: What it is.
        made: Absolute paths that a DVC stage makes: these need not be there yet.
    """
    subject, path = f"space {name}", Path(spec.checkpoint)
    if spec.encoder not in (known := known_encoders()):
        return Finding(FAIL, subject, f"no encoder {spec.encoder!r}", choice(spec.encoder, known))
    if not path.exists():
        if path.absolute() in made:
            return Finding(NOTE, subject, f"{path} is not there yet", "`dvc repro` makes it.")
        if not _names_a_path(spec.checkpoint):
            return Finding(NOTE, subject, f"{spec.checkpoint} is fetched at its first use, which needs a network")
        hint = "Run `mcr fetch` if params.yaml names them under `fetch`, put them there yourself, or run `dvc pull`."
        return Finding(FAIL, subject, f"{path} does not exist", hint)
    try:
        files = [file for file in weight_files(spec) if file.name.endswith(SUFFIXES)]
    except UserError as error:
        return Finding(FAIL, subject, error.message, error.hint)
    for file in files:
        if found := _unusable(file):
            return Finding(FAIL, subject, f"{file} {found[0]}", found[1])
    hashes = {file: sha256_file(file) for file in files}
    said = ", ".join(f"{file} ({file.stat().st_size / 1e6:,.1f} MB, sha256 {found})" for file, found in hashes.items())
    whole = sha256_json({file.name: digest for file, digest in hashes.items()})  # of weights in several files
    if spec.sha256 and spec.sha256 not in (*hashes.values(), whole):
        hint = f"Fetch the file again, or correct `sha256` of the space, which is {spec.sha256}."
        return Finding(FAIL, subject, f"other weights than expected: {said}", hint)
    return Finding(OK, subject, said)


def _unusable(file: Path) -> tuple[str, str] | None:
    """Why a file of weights cannot be read, and what to do, as far as its first bytes and its size tell."""
    with file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    why = "" if head else "is empty"
    if file.suffix == SAFE_SUFFIX:  # begins with the length of its header, which may be the bytes PK
        try:
            with safe_open(file, "numpy"):
                return None
        except SafetensorError as error:
            why = f"is damaged or cut off ({error})"
    elif head.startswith(b"PK") and not zipfile.is_zipfile(file):  # of torch: its table of contents is at its end
        why = "is cut off"
    if not head.startswith(b"PK") and (found := foreign(head)):
        return f"is {found[0]}", found[1]
    return (why, "Fetch it again, and compare its sha256 with the one that its authors give.") if why else None


def tokenizer(name: str, spec: SpaceSpec) -> list[Finding]:
    """Is the tokenizer there that the encoder would otherwise fetch from the Hugging Face Hub?"""
    subject = f"tokenizer of {name}"
    if spec.encoder == "laion_clap":
        if not find_spec("laion_clap"):
            hint = "Run `pip install 'mcr-connect[clap]'`."
            return [Finding(FAIL, f"library of {name}", "laion_clap is not installed", hint)]
        from pipeline.spaces.laion_clap.library import roberta_folder

        try:
            return [Finding(OK, subject, str(roberta_folder(Path(spec.checkpoint))))]
        except UserError as error:
            return [Finding(FAIL, subject, error.message, error.hint)]
    if spec.encoder == "open_clip" and (repository := _hub_tokenizer(spec.model)):
        from huggingface_hub import try_to_load_from_cache

        if not isinstance(try_to_load_from_cache(repository, "tokenizer_config.json"), str):
            hint = f"For a machine without a network run `hf download {repository}` elsewhere and copy the cache."
            return [Finding(NOTE, subject, f"{repository} is fetched at its first use", hint)]
        return [Finding(OK, subject, repository)]
    return []


def loads(name: str, spec: SpaceSpec, device: str) -> Finding:
    """Can space `name` really be loaded?"""
    from pipeline.spaces import load_space

    try:
        space = load_space(spec, device)
    except McrError as error:
        return Finding(FAIL, f"space {name}", error.message, error.hint)
    return Finding(OK, f"space {name}", f"loads: {', '.join(space.modalities)}, {space.dimension} dimensions")


def source(name: str, places: Sequence[str], made: Collection[Path], listed: Callable[[], Sized]) -> Finding:
    """Is the raw data of corpus `name` there?

    Args:
        name: The corpus.
        places: Its folders, files, patterns or addresses.
        made: Absolute paths that a DVC stage makes.
        listed: Lists its files, in the way in which `dvc repro` begins.
    """
    subject, said = f"corpus {name}", ", ".join(places)
    try:
        count = len(listed())
    except McrError as error:
        if any(is_made(Path(_before_pattern(place)).absolute(), made) for place in places):
            return Finding(NOTE, subject, f"{said} is not there yet", "`dvc repro` makes it.")
        return Finding(FAIL, subject, error.message, error.hint)
    if not count:
        return Finding(FAIL, subject, f"{said} is empty", "Put the raw data there.")
    return Finding(OK, subject, f"{said}, {count:,} files")


def table(task: str, path: Path, made: Collection[Path]) -> list[Finding]:
    """Is the table that an evaluation task names there?"""
    if path.is_file() or is_made(path.absolute(), made):
        return []
    return [Finding(FAIL, f"task {task}", f"{path} does not exist", "Put the table there; `mcr prepare` writes some.")]


def unused(names: Collection[str], used: Collection[str]) -> list[Finding]:
    """Spaces through which no corpus goes: `dvc repro` has a stage for each space, which would have nothing to do."""
    hint = "Add a job to `encode`, or remove the space."
    return [Finding(FAIL, f"space {name}", "no job in `encode` uses it", hint) for name in names if name not in used]


def _before_pattern(place: str) -> str:
    """The folder before the first part that is a pattern."""
    parts = place.removeprefix("file://").split("/")
    magic = (number for number, part in enumerate(parts) if set(part) & set("*?[{"))
    return "/".join(parts[: next(magic, len(parts))])


def _names_a_path(checkpoint: str) -> bool:
    return not checkpoint.startswith(HUB) and ("/" in checkpoint or Path(checkpoint).suffix in SUFFIXES)


def _hub_tokenizer(model: str) -> str:
    """Repository of the tokenizer of an OpenCLIP model, from the library's files; its import would take seconds."""
    library = find_spec("open_clip")
    folders = (library.submodule_search_locations or ()) if library else ()
    for folder in folders:
        path = Path(folder, "model_configs", f"{model}.json")
        if model and path.is_file():
            return str(json.loads(path.read_text()).get("text_cfg", {}).get("hf_tokenizer_name") or "")
    return ""
