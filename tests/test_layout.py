"""The layout of the repository: small files in small folders, and tests where their code is."""

import subprocess
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
# Tests of more than one module, what tests are made with, and data.
NOT_MIRRORED = ("end_to_end", "faults", "golden", "makers", "mutation", "package", "plugin", "connect/version_1")


def tracked() -> list[Path]:
    """Files that git knows or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [Path(name) for name in listed if (ROOT / name).is_file()]


def test_no_folder_shows_more_than_sixteen_files_of_its_own() -> None:
    shown = (path for path in tracked() if not path.name.startswith("."))
    assert not {folder: count for folder, count in Counter(path.parent for path in shown).items() if count > 16}


def test_nine_files_of_ten_have_at_most_190_lines() -> None:
    paths = [path for path in tracked() if path.suffix == ".py" and path.parts[0] in ("pipeline", "stages")]
    lines = sorted((len((ROOT / path).read_text().splitlines()), str(path)) for path in paths)
    longest = lines[len(lines) * 9 // 10 :]
    assert longest[0][0] <= 190, longest[-12:]


def test_each_folder_of_tests_is_that_of_the_code_it_tests() -> None:
    folders = {path.parent.relative_to("tests") for path in tracked() if path.parts[0] == "tests"}
    tested = {folder for folder in folders if folder != Path(".")}
    for folder in tested:
        if not any(folder.is_relative_to(name) for name in NOT_MIRRORED):
            code = ROOT / folder if folder.parts[0] == "stages" else ROOT / "pipeline" / folder
            assert code.is_dir(), f"tests/{folder} tests nothing of that name"


def test_the_hooks_of_a_commit_are_the_commands_of_make_check() -> None:
    recipe = (ROOT / "Makefile").read_text().split("\ncheck: install\n")[1].split("\n\n")[0]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    said = [" ".join([hook["entry"].removeprefix(".venv/bin/"), *hook.get("args", [])]) for hook in hooks]
    assert said == [line.strip() for line in recipe.splitlines()]


def test_ci_runs_what_a_person_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in steps and (ROOT / ".ci/run").stat().st_mode & 0o111
