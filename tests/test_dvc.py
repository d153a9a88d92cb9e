"""dvc.yaml against the code: a stage depends on what it really imports, no less and no more."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.makers.imports import imported_names

ROOT = Path(__file__).parents[1]
STAGES = {
    name: entry.get("do", entry) for name, entry in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
# These cannot change a byte of an output: words for people, types of parameters whose values DVC tracks by themselves.
HARMLESS = (
    "pipeline/params/",
    "pipeline/allocator.py",  # where numbers lie, not which
    "pipeline/errors.py",
    "pipeline/files/address.py",  # where parts lie
    "pipeline/files/os_errors.py",
    "pipeline/progress.py",
    "pipeline/files/reading.py",
    "pipeline/settings.py",
)


def imported_files(path: Path) -> set[Path]:
    """Our own modules that `path` names in import statements, at any depth of the code."""
    tree = ast.parse(path.read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    by_name = {text.split(":")[0] for text in texts if text.startswith("pipeline.")}  # by a registry
    found = set()
    for name in imported_names(tree) | by_name:
        base = ROOT / Path(*name.split("."))
        found |= {file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()}
    return {file for file in found if file.stat().st_size}


def import_closure(*start: Path) -> set[str]:
    todo, seen = list(start), set(start)
    while todo:
        for file in imported_files(todo.pop()):
            name = str(file.relative_to(ROOT))
            if file not in seen and not name.startswith((*HARMLESS, "stages/")):
                seen.add(file)
                todo.append(file)
    return {str(file.relative_to(ROOT)) for file in seen}


@pytest.mark.parametrize("stage", [name for name, stage in STAGES.items() if not stage.get("always_changed")])
def test_a_stage_depends_on_exactly_the_code_that_it_imports(stage):
    # Methods name code in the folder of their stage instead of importing it, so all of that folder counts.
    closure = import_closure(ROOT / "stages" / f"{stage}.py", *(ROOT / "pipeline" / stage).rglob("*.py"))
    code = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("pipeline/", "stages/"))]
    covers = lambda dep, name: name == dep or name.startswith(f"{dep}/")  # noqa: E731
    assert not [name for name in sorted(closure) if not any(covers(dep, name) for dep in code)], "imported, but no dep"
    assert not [dep for dep in code if not any(covers(dep, name) for name in closure)], "a dep, but not imported"


def test_the_stages_that_look_plugins_up_depend_on_the_projects_own():
    looking = {name for name, stage in STAGES.items() if "pipeline/plugins.py" in stage["deps"]}
    assert looking == {"shard", "encode", "retrieve", "train", "evaluate", "report"}
    # To shard a corpus again reads all of it, so that stage runs only if the code of the corpus' own kind changes:
    # `mcr inputs` writes its hash.
    assert looking - {"shard"} == {name for name, stage in STAGES.items() if "plugins" in stage["deps"]}


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_is_the_name_of_the_stage(stage):
    assert STAGES[stage]["cmd"].split()[:2] == ["mcr", stage]


def test_no_stage_depends_on_how_it_is_run():
    assert not [param for entry in STAGES.values() for param in entry.get("params", []) if param.startswith("run")]


def test_byte_code_is_no_dependency():
    assert "__pycache__/" in (ROOT / ".dvcignore").read_text()


def test_dvc_empties_no_folder_into_which_somebody_could_put_files():
    demo = yaml.safe_load((ROOT / "data/demo/dvc.yaml").read_text())["stages"]
    for name, stage in {**STAGES, **demo}.items():
        for out in stage["outs"]:
            path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            assert Path(path).suffix or options.get("persist"), f"{name}: {path} is a folder that does not persist"


def test_clean_removes_results_and_leaves_what_may_be_somebodys(tmp_path):
    results = (
        "shards/c/00000.tar",
        "embeddings/x",
        "pairs/x",
        "models/x",
        "metrics/x",
        "reports/x",
        "inputs/x",
        "sweeps/x/y",
    )
    others = (
        "spaces/clip/weights.pt",
        "annotations/boxes.csv",
        "raw/c/a.png",
        "annotations/.gitkeep",
        "sweeps/tables/.gitkeep",
    )
    for name in (*results, *others):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    left = {str(path.relative_to(tmp_path / "data")) for path in tmp_path.glob("data/**/*") if path.is_file()}
    assert left == set(others)
