"""Encoders, methods and kinds of sources of somebody else: from installed packages, and from the project's own folder ``plugins/``.

All are named the same way, in entry points: a package's are in its metadata, those of the folder in
``plugins/entry_points.txt``. The parameters only name them, so that a recipe from elsewhere can never bring code, and
nothing is imported before it is asked for by its name.
"""

import sys
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as TableError
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from typing import Any

from pipeline.errors import UserError
from pipeline.hashing import sha256_file, sha256_json

METHODS, ENCODERS, SOURCES = "mcr_connect.methods", "mcr_connect.encoders", "mcr_connect.sources"
KINDS = {METHODS: "method", ENCODERS: "encoder", SOURCES: "source kind"}
FOLDER, TABLE = Path("plugins"), "entry_points.txt"
# What the folder says while nothing else is in it.
ABOUT_NAME = "README.md"
ABOUT = """\
# Your own code

Encoders, methods and kinds of corpora that only this project needs: Python files, and `entry_points.txt`, which gives each
the name that params.yaml knows it by. See docs/plugins.md of mcr-connect.
"""


@dataclass(frozen=True)
class Plugin:
    """Code of somebody else under a name.

    Attributes:
        entry: Its name, and the module and the name there.
        package: Where it is from: the name of a distribution, or ``plugins/``.
        version: Of the distribution; empty for the folder.
    """

    entry: EntryPoint
    package: str
    version: str = ""

    def __str__(self) -> str:
        return f"The {KINDS[self.entry.group]} {self.entry.name!r} of {self.package}"

    def load(self) -> Any:
        """Import it.

        Raises:
            UserError: It cannot be imported.
        """
        with_folder_on_path(self)
        try:
            value: Any = import_module(self.entry.module)
            for name in filter(None, (self.entry.attr or "").split(".")):
                value = getattr(value, name)
        except (Exception, SystemExit) as error:  # a module that ends the program ends nothing here
            said = " ".join(str(error).split()) if isinstance(error, Exception) else "it ends the program"
            raise UserError(f"{self} cannot be loaded ({said}).", f"Repair or remove {self.package}.") from error
        return value

    def identity(self) -> dict[str, str]:
        """What decides what it computes: its version, and a hash of its source.

        Raises:
            UserError: There is no such module.
        """
        with_folder_on_path(self)
        root = FOLDER if self.package == f"{FOLDER}/" else self._installed()
        files = sorted(root.rglob("*.py")) if root.is_dir() else [root]
        source = sha256_json({file.relative_to(root).as_posix(): sha256_file(file) for file in files})
        return {"package": self.package, "version": self.version, "code": self.entry.value, "source": source}

    def _installed(self) -> Path:
        """The folder of its package, or the file if it is a single one."""
        spec = find_spec(self.entry.module.partition(".")[0])
        if spec and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
        if spec and spec.origin:
            return Path(spec.origin)
        raise UserError(f"{self} cannot be loaded (there is no {self.entry.module}).", "Repair or remove the package.")


def plugins(group: str) -> dict[str, Plugin]:
    """All of `group`, by name; nothing is imported.

    Raises:
        UserError: Two have the same name, or the folder's table cannot be read.
    """
    found: dict[str, Plugin] = {}
    for plugin in sorted([*_of_packages(group), *_of_folder(group)], key=lambda plugin: plugin.entry.name):
        known = found.setdefault(plugin.entry.name, plugin)
        if known is not plugin:
            raise UserError(f"{plugin} has the name of another one, of {known.package}.", "Remove one of the two.")
    return found


def plugin_in(error: BaseException) -> Plugin | None:
    """The plug-in in whose code `error` was raised, or what it called raised it."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    modules = {str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame in frames}
    with suppress(UserError):  # a table that cannot be read brought nothing
        for plugin in (plugin for group in KINDS for plugin in plugins(group).values()):
            if plugin.entry.module.partition(".")[0] in modules:
                return plugin
    return None


def made_by(group: str, name: str) -> dict[str, dict[str, str]]:
    """What decides what `name` of `group` computes, if it is somebody else's: an entry for a fingerprint."""
    return {"plugin": plugin.identity()} if (plugin := plugins(group).get(name)) else {}


def _of_packages(group: str) -> Iterator[Plugin]:
    for entry in installed(group, tuple(sys.path)):
        yield Plugin(entry, entry.dist.name, entry.dist.version) if entry.dist else Plugin(entry, entry.value)


@cache
def installed(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of `group` in the packages on `path`, which is `sys.path`.

    They are looked up once: a stage asks many times, and each look reads the metadata of every package.
    """
    assert path == tuple(sys.path)
    return tuple(entry_points(group=group))


def _of_folder(group: str) -> Iterator[Plugin]:
    path = FOLDER / TABLE
    table = ConfigParser(delimiters=("=",), interpolation=None)
    table.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        if path.exists():  # ConfigParser would pass over a file that cannot be opened
            table.read_string(path.read_text("utf-8-sig"), str(path))
    except (TableError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}).", "docs/plugins.md shows what it looks like.") from error
    for section in table.sections():
        if section not in KINDS:
            raise UserError(f"{path} has a section [{section}].", f"Use [{'], ['.join(KINDS)}].")
    for name, value in table.items(group) if table.has_section(group) else ():
        if not EntryPoint.pattern.match(value):
            raise UserError(f"{path} says {name} = {value}.", "Write `name = module:Name`.")
        yield Plugin(EntryPoint(name, value, group), f"{FOLDER}/")


def with_folder_on_path(plugin: Plugin) -> None:
    """Let the modules of the project's folder be found, after all that is installed: none of them can hide a library.

    Raises:
        UserError: Another module has the name of the one in the folder.
    """
    if plugin.package != f"{FOLDER}/":
        return
    folder = str(FOLDER.absolute())
    if folder not in sys.path:
        sys.path.append(folder)
    top = plugin.entry.module.partition(".")[0]
    spec = find_spec(top)
    places = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec else []
    if spec and not any(Path(place).is_relative_to(folder) for place in places):
        raise UserError(f"{plugin} is in a module {top}, but another module has that name.", "Rename the module.")
