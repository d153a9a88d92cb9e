"""Python and the packages that this version of the project asks for."""

import shutil
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.doctor.finding import FAIL, NOTE, OK, Finding

PYTHON = ((3, 11), (3, 14))


def python() -> Finding:
    """Is this Python one of those that the project runs on?"""
    running = sys.version_info[:2]
    said = ".".join(map(str, running))
    if PYTHON[0] <= running < PYTHON[1]:
        return Finding(OK, "Python", f"{said} in {sys.prefix}")
    return Finding(
        FAIL, "Python", f"{said}; 3.11, 3.12 or 3.13 is needed", "Run `make install PYTHON=/path/to/python3.12`."
    )


def packages(project: Path) -> list[Finding]:
    """Is every package that this version asks for installed, in a version that it allows?

    Args:
        project: Folder of the code: in a clone it has ``pyproject.toml`` and ``constraints.txt``, a wheel has neither.
    """
    asked = _asked(project / "pyproject.toml")
    constraints = project / "constraints.txt"
    pinned = _pinned(constraints)
    found = []
    for requirement in asked:
        command = f"Run `pip install {'-c constraints.txt ' if constraints.is_file() else ''}'{requirement}'`."
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            found.append(Finding(FAIL, requirement.name, "is not installed", command))
            continue
        expected = pinned.get(canonicalize_name(requirement.name))
        if not requirement.specifier.contains(installed, prereleases=True):
            said = f"{installed} is installed, {requirement.specifier} is needed"
            found.append(Finding(FAIL, requirement.name, said, command))
        elif expected and installed.split("+")[0] != expected:
            found.append(Finding(NOTE, requirement.name, f"{installed}; tested is {expected}"))
    return found or [Finding(OK, "packages", f"{len(asked)} packages{', in the tested versions' if pinned else ''}")]


def _asked(file: Path) -> list[Requirement]:
    """By the file of a clone, which may have moved on since it was installed; of a wheel by its metadata."""
    if file.is_file():
        return [*map(Requirement, tomllib.loads(file.read_text())["project"]["dependencies"])]
    asked = map(Requirement, requires("mcr-connect") or ())
    return [each for each in asked if not each.marker or each.marker.evaluate({"extra": ""})]


def _pinned(constraints: Path) -> dict[str, str]:
    lines = constraints.read_text().splitlines() if constraints.is_file() else []
    pairs = (line.split("#")[0].strip().split("==") for line in lines if "==" in line)
    return {canonicalize_name(name.strip()): pin for name, pin in pairs}


def device(wanted: str, threads: int, cores: int) -> list[Finding]:
    """What torch computes on, against `run.device` and `threads` of the parameters."""
    import torch

    found = []
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        found.append(Finding(OK, "device", f"CUDA {torch.version.cuda}: {names}"))
    elif wanted == "cuda":
        hint = "Set `run.device: auto` in params.yaml, or install a torch and a driver that see the GPU."
        found.append(Finding(FAIL, "device", "run.device is cuda, and torch sees no GPU", hint))
    elif shutil.which("nvidia-smi"):
        hint = "Compare the driver (`nvidia-smi`) with the CUDA version of torch, and see CUDA_VISIBLE_DEVICES."
        found.append(Finding(NOTE, "device", f"CPU: torch {torch.__version__} sees no GPU, a driver is there", hint))
    else:
        found.append(Finding(OK, "device", f"CPU, {cores} cores"))
    if threads > cores:
        hint = f"Set `threads: {cores}`; it is part of the result, so do that before the first run."
        found.append(Finding(NOTE, "threads", f"{threads} threads on {cores} cores are slower than {cores}", hint))
    return found


def faiss(needed_by: list[str], gpu: bool) -> Finding:
    """Which FAISS is there; exact search, the default, needs none.

    Args:
        needed_by: Connections that search with FAISS.
        gpu: Whether torch sees a GPU.
    """
    installed = [name for name in ("faiss-cpu", "faiss-gpu") if _installed(name)]
    who = f", needed by {', '.join(needed_by)}" if needed_by else ""
    level = FAIL if needed_by else NOTE
    if len(installed) == 2:
        hint = f"Run `rm .venv/.installed-* && make install EXTRA={'gpu' if gpu else 'cpu'}`, which removes both first."
        return Finding(level, "faiss", f"faiss-cpu and faiss-gpu overwrite each other{who}", hint)
    if not installed:
        kind = "gpu" if gpu else "cpu"
        return Finding(level, "faiss", f"is not installed{who}", f"Run `pip install -c constraints.txt faiss-{kind}`.")
    try:
        import faiss as library
    except (ImportError, RuntimeError) as error:
        return Finding(level, "faiss", f"{installed[0]} cannot be imported{who}: {error}", "Install what it names.")
    said = f"{installed[0]} {library.__version__}{who}"
    if installed == ["faiss-gpu"] and not gpu:
        return Finding(NOTE, "faiss", f"{said}; there is no GPU, so it searches on the CPU")
    return Finding(OK, "faiss", said)


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False
