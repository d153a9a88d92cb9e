"""`make install`: which FAISS is there."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_makefile_swaps_one_for_the_other_and_says_so(tmp_path: Path) -> None:
    """The recipe with packages as pip sees them, but with a pip that only notes what it is told."""
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (scripts / "pip").write_text(f"#!{sys.executable}\n" + FAKE_PIP)
    (scripts / "pip").chmod(0o755)
    (tmp_path / "has").write_text("faiss-cpu")

    def install(*words: str) -> str:
        # PYTHON makes the environment, which is there.
        command = ["make", "install", "PYTHON=true", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    install("EXTRA=cpu")
    assert "up to date" in install() or "Nothing" in install()
    assert "faiss-cpu is replaced by faiss-gpu" in install("EXTRA=gpu")
    assert (tmp_path / "has").read_text() == "faiss-gpu"
    assert "replaced" not in install(), "what is installed stays where nothing is said"
    assert (tmp_path / "has").read_text() == "faiss-gpu"
    assert "faiss-gpu is replaced by faiss-cpu" in install("EXTRA=cpu")
    assert (tmp_path / "has").read_text() == "faiss-cpu"


FAKE_PIP = """
import re, sys
from pathlib import Path
has, words = Path("has"), sys.argv[1:]
if words[0] == "show":
    sys.exit(has.read_text() not in words)
if words[0] == "uninstall":
    has.write_text("")
if words[0] == "install":
    extra = re.search(r"\\[(cpu|gpu),clap,serve,docs,dev\\]", " ".join(words))[1]
    assert has.read_text() in ("", f"faiss-{extra}"), "two of them in one folder"
    has.write_text(f"faiss-{extra}")
"""
