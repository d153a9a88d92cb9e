"""Archives of weights that would be far larger once inflated."""

import zipfile
from pathlib import Path

from pipeline.errors import UserError

# PyTorch writes weights as they are; even packed again by somebody they shrink to a half at best.
MAX_RATIO = 100
_SMALL = 1 << 20


def check_swelling(path: Path) -> None:
    """Refuse a zip whose members inflate to a hundred times their size, or lie over each other, before any is inflated.

    Raises:
        UserError: It is one.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    packed, whole = sum(one.compress_size for one in members), sum(one.file_size for one in members)
    held = path.stat().st_size
    if packed > held or whole > MAX_RATIO * max(packed, _SMALL):
        raise UserError(
            f"{path} has {held} bytes, and would have {whole} when decompressed: weights do not compress like that.",
            "Fetch it from its authors, and compare its sha256 with the published one.",
        )
