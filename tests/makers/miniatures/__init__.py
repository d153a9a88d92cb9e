"""Every published set in small: files by path, in the layout of their publishers, with the oddities that they have.

`LOOKED_UP` says where each layout was looked up: repository, commit and file, with the header, the counts and the odd rows there.
"""

from pathlib import Path

from tests.makers.miniatures import captioned, classified, sounding, stamps
from tests.makers.miniatures.files import Files

KINDS = (sounding, captioned, classified, stamps)
MINIATURES: dict[str, Files] = {name: files for kind in KINDS for name, files in kind.FILES.items()}
LOOKED_UP = {name: " ".join(text.split()) for kind in KINDS for name, text in kind.LOOKED_UP.items()}


def write(root: Path, name: str) -> Path:
    """The set `name` below `root`."""
    for path, content in MINIATURES[name].items():
        file = root / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return root / name
