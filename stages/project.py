"""A project that is no clone of ours: what `mcr init` writes into an empty folder, and what its stages depend on.

In a clone a stage depends on files of code. Where the package is installed those lie elsewhere, and DVC is given hashes of
them instead: ``data/inputs/code/<stage>.json``, which `mcr inputs` writes, as it does for raw data and weights.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.files.atomic import write_text
from pipeline.hashing import sha256_bytes, sha256_json

# Beside the package in a clone, within it where it was installed (setup.py).
_WITHIN, PACKAGE = Path(__file__).parent / "template", Path(__file__).parents[1]
ROOT = _WITHIN if _WITHIN.is_dir() else PACKAGE
STAGES, DEMO_STAGES, DEMO_PARAMS = Path("dvc.yaml"), Path("data/demo/dvc.yaml"), Path("data/demo/params.yaml")
CODE, DEMO_CODE = Path("data/inputs/code"), Path("data/demo/code.json")
SCHEMA = Path("presets/params.schema.json")
# Files of a clone that a project has, too.
COPIED = (".gitignore", ".dvcignore")
WRITTEN = "# Written by `mcr init`, which brings it up to date; remove this line to keep changes of yours.\n"


def make_project(demo: bool) -> bool:
    """Make the working directory a project, unless it is one; one that this made before is brought up to date.

    Args:
        demo: Whether the demo's own stages belong to it.

    Returns:
        Whether there was none.
    """
    if (PACKAGE / STAGES).exists() and Path.cwd() == PACKAGE:
        return False
    new = not STAGES.exists()
    if not new and not STAGES.read_text().startswith(WRITTEN):
        return False
    for name in COPIED:
        if not Path(name).exists():
            shutil.copyfile(ROOT / _stored(name), name)
    for folder in ("data/annotations", "data/spaces", "data/sweeps/tables"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, ".gitkeep").touch()  # stages depend on them, and git keeps no empty folder for a colleague's clone
    write_text(STAGES, WRITTEN + _dumped(_with_hashes(_stages(STAGES), CODE)))
    write_text(SCHEMA, (ROOT / SCHEMA).read_text())
    if demo:
        write_text(DEMO_STAGES, WRITTEN + _dumped(_with_one_hash(_stages(DEMO_STAGES))))
        if not DEMO_PARAMS.exists():
            write_text(DEMO_PARAMS, (ROOT / DEMO_PARAMS).read_text())
        code = {dep for stage in _stages(DEMO_STAGES)["stages"].values() for dep in stage["deps"]}
        write_text(DEMO_CODE, _hashes(code))
    if not Path(".dvc").exists():
        _init_dvc()
    return new


def write_code() -> None:
    """Write the hashes that the stages of a project of `make_project` depend on; nothing where they name files of a clone."""
    if not STAGES.is_file() or f"{CODE}/" not in STAGES.read_text():
        return
    for name, stage in _stages(STAGES)["stages"].items():
        if code := list(filter(_is_code, stage.get("do", stage)["deps"])):
            content, path = _hashes(code), CODE / f"{name}.json"
            if not path.is_file() or path.read_text() != content:
                write_text(path, content)


def _stored(name: str) -> str:
    """How a file is called in the package: some tools leave out what begins with a dot."""
    return name if ROOT == PACKAGE else name.removeprefix(".")


def _stages(path: Path) -> dict[str, Any]:
    import yaml

    content: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return content


def _is_code(dep: str) -> bool:
    return dep.startswith(("pipeline/", "stages/"))


def _with_hashes(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The stages with one file of hashes in place of their code, each its own."""
    for name, stage in content["stages"].items():
        inner = stage.get("do", stage)
        if any(map(_is_code, inner["deps"])):
            inner["deps"] = [dep for dep in inner["deps"] if not _is_code(dep)] + [f"{folder}/{name}.json"]
    content["stages"]["inputs"]["outs"].append({folder.as_posix(): {"persist": True}})
    return content


def _with_one_hash(content: dict[str, Any]) -> dict[str, Any]:
    for stage in content["stages"].values():
        stage["deps"] = [dep for dep in stage["deps"] if not _is_code(dep)] + [DEMO_CODE.as_posix()]
    return content


def _hashes(deps: Iterable[str]) -> str:
    found = {dep: _hash(PACKAGE / dep) for dep in sorted(deps)}
    return json.dumps({"mcr-connect": version("mcr-connect"), "code": found}, indent=1) + "\n"


def _hash(path: Path) -> str:
    """Hash of a file of code, or of all below a folder: names and contents, no byte code."""
    if path.is_file():
        return sha256_bytes(path.read_bytes())
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    return sha256_json({file.relative_to(path).as_posix(): sha256_bytes(file.read_bytes()) for file in files})


def _dumped(content: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(content), sort_keys=False, width=120)


def _init_dvc() -> None:
    from dvc.repo import Repo

    with Repo.init(".", no_scm=not Path(".git").exists()) as repo, repo.config.edit() as config:
        config["core"] |= {"analytics": False, "check_update": False}
