"""A copy of the project in a folder of its own, to run `dvc repro` in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


class Project:
    """The files that git would commit, in `folder`, as a fresh clone with its own DVC cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        for name in listed.decode().split("\0"):
            if name and (ROOT / name).is_file() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        for command in (
            ["init", "-q"],
            ["add", "-A"],
            ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "copy"],
        ):
            subprocess.run(["git", *command], cwd=folder, check=True)

    @classmethod
    def at(cls, folder: Path) -> "Project":
        """A copy that is there already."""
        made = cls.__new__(cls)
        made.folder = folder
        return made

    @property
    def environment(self) -> dict[str, str]:
        """The copy's own code before any installed one, the same interpreter, no colours."""
        scripts = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            "NO_COLOR": "1",
            "DVC_NO_ANALYTICS": "1",
        }

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start `command` in the project as the head of a process group, so that it can be killed whole."""
        log = open(self.folder.with_suffix(".log"), "ab")  # noqa: SIM115
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
        )

    def run(self, *command: str) -> str:
        """Run `command` in the project; its output, or an error with it."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def repro(self) -> list[str]:
        """Run `dvc repro`; the names of the stages that ran."""
        output = self.run("dvc", "repro")
        names = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
        return [name.rsplit(":", 1)[-1] for name in names]

    def contents(self, *folders: str) -> dict[str, bytes]:
        """Bytes of every file below `folders`, by path."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for name in folders
            for path in sorted((self.folder / name).rglob("*"))
            if path.is_file()
        }

    def edit(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Apply `change` to the content of a YAML file."""
        path = self.folder / name
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))


def shrink(project: Project) -> None:
    """The demo at a size that takes seconds: everything runs, nothing is learned well."""

    def world(params: dict[str, Any]) -> None:
        params["sizes"] = dict.fromkeys(params["sizes"], 400) | {"heldout": 80}
        for space in params["pretrain"].values():
            space.update(scenes=512, epochs=1, batch=128)

    def connections(params: dict[str, Any]) -> None:
        for corpus in params["corpora"].values():
            corpus["samples_per_shard"] = 100
        for connection in params["connections"].values():
            connection["train"].update(epochs=3, batch_size=128)
        params["evaluate"]["bootstrap"] = 100

    project.edit("data/demo/params.yaml", world)
    project.edit("params.yaml", connections)
