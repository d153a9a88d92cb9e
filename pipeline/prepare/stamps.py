"""Tux Paint's stamps: small pictures with a description, many of them with their own sound or a spoken description.

A real corpus with true pairs that anybody can get: Debian's package `tuxpaint-stamps-default` (GPL-2 and compatible), unpacked
with `dpkg-deb --extract`. Version 2022.06.04 holds 796 PNG pictures and 248 SVG drawings, which are not read; 107 PNG pictures
have a sound of their own and 589 a French description, letters and digits not counted.
"""

from pathlib import Path

from pipeline.prepare.layout import Layout
from pipeline.prepare.prepared import Prepared, key_of

STAMPS = "usr/share/tuxpaint/stamps"
# What a letter or a digit says is its name, whatever its picture looks like.
WRITTEN = ("symbols/alphabets/", "symbols/math/")


def read_tuxpaint(root: Path, templates: tuple[str, ...]) -> Prepared:
    """Pictures with the sound that the thing makes, and the English description."""
    return _stamps(root, "", "stamps with a sound")


def read_tuxpaint_speech(root: Path, templates: tuple[str, ...]) -> Prepared:
    """Pictures with the description read aloud in French, and the English description."""
    return _stamps(root, "_desc_fr", "stamps with a description in French")


def _stamps(root: Path, suffix: str, split: str) -> Prepared:
    layout = Layout(
        "Tux Paint's stamps",
        root,
        f"`{STAMPS}/` as Debian's package tuxpaint-stamps-default holds it (`<name>.png`, `<name>.txt` whose first line is the "
        f"English description, `<name>{suffix}.ogg` or `.wav`)",
    )
    pictures, sounds = layout.media(STAMPS, "image"), layout.media(STAMPS, "audio")
    spoken = [name for name in pictures if name + suffix in sounds and not name.startswith(WRITTEN)]
    described = [name for name in spoken if (root / STAMPS / f"{name}.txt").is_file()]
    if not described:
        raise layout.wrong(STAMPS, f"holds no picture with a description and a sound `<name>{suffix}`")
    return Prepared(
        split,
        len(spoken),
        {
            "image": [(key_of(name), pictures[name]) for name in described],
            "audio": [(key_of(name), sounds[name + suffix]) for name in described],
        },
        [(key_of(name), layout.lines(f"{STAMPS}/{name}.txt")[0]) for name in described],
    )
