"""Run `run.sh --device cpu --small` as a GPU host would: numpy 2, transformers 5, the wheels, and nothing of the project's own.

The environment, `.rehearsal/`, is made once and kept. What a GPU image has besides (`host.txt`) is linked from the environment
that runs this, so that torch is not on the disk twice; what an image lacks is not linked, so that a missing wheel shows.
"""

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

from pipeline.hashing import sha256_bytes

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
LISTS = HERE / "requirements"
REHEARSAL = ROOT / ".rehearsal"
# What differs from the project's own environment.
NEWER = ("numpy>=2,<3", "transformers>=5,<6", "huggingface_hub>=1,<2", "tokenizers>=0.22,<0.24")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    """Make what is missing, then run."""
    wanted = sha256_bytes("".join([*NEWER, sys.prefix, (LISTS / "host.txt").read_text(), constraints()]).encode())
    if not (stamp := REHEARSAL / "made-from").is_file() or stamp.read_text() != wanted:
        make()
        stamp.write_text(wanted)
    wheels = ROOT / ".wheels" / VERSION
    if not (stamp := wheels / "made-from").is_file() or stamp.read_text() != wanted:
        subprocess.run(["bash", str(HERE / "wheels.sh")], env={**os.environ, "GPU_PYTHON": VERSION}, check=True)
        stamp.write_text(wanted)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"PYTHON": str(REHEARSAL / "bin/python"), "OUT": os.environ.get("OUT", str(REHEARSAL / "results"))}
    command = ["bash", str(HERE / "run.sh"), "--device", "cpu", "--small", *sys.argv[1:]]
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


def constraints() -> str:
    """What is installed in the rehearsal and in the wheels depends on it."""
    lists = [(LISTS / name).read_text() for name in ("base.txt", "clap.txt")]
    return (ROOT / "constraints.txt").read_text() + "".join(lists)


def make() -> None:
    """A fresh environment with the newer packages of its own, and links to what does not differ."""
    shutil.rmtree(REHEARSAL, ignore_errors=True)
    venv.create(REHEARSAL, with_pip=True)
    subprocess.run([REHEARSAL / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                    *NEWER], check=True)  # fmt: skip
    site = REHEARSAL / "lib" / f"python{VERSION}" / "site-packages"
    names = [line.strip() for line in (LISTS / "host.txt").read_text().splitlines() if line.strip() and line[0] != "#"]
    for name in names:
        link(name, site)
    for folder in sorted(Path(distribution("torch").locate_file("")).glob("nvidia*")):  # torch's own libraries
        offer(folder, site / folder.name)


def link(name: str, site: Path) -> None:
    """Link what the distribution `name` has at the top of site-packages: packages, modules, libraries, metadata."""
    found = distribution(name)
    tops = {Path(str(file)).parts[0] for file in found.files or () if not str(file).startswith("..")}
    for top in tops - {"__pycache__"}:
        offer(Path(str(found.locate_file(top))), site / top)


def offer(source: Path, target: Path) -> None:
    """A link to `source`, unless the environment has something of its own there."""
    if source.exists() and not target.exists():
        target.symlink_to(source.resolve())


if __name__ == "__main__":
    main()
