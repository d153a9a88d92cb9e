"""What pyproject.toml cannot say: recipes and stages lie at the root of a clone, and within the package of a wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDER = "stages/template"
FILES = ["dvc.yaml", ".gitignore", ".dvcignore", "data/demo/dvc.yaml", "data/demo/params.yaml"]


class WithProject(build_py):
    """`build_py` that also copies what `mcr init` writes."""

    def run(self) -> None:
        """Build."""
        super().run()
        if self.editable_mode:
            return
        for path in [*map(Path, FILES), *sorted(Path("presets").rglob("*.*"))]:
            # `mcr init` gives the names back that begin with a dot.
            target = Path(self.build_lib, FOLDER, path.with_name(path.name.removeprefix(".")))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


setup(cmdclass={"build_py": WithProject})
