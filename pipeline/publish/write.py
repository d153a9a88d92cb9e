"""The folder of a published connection: weights, where its spaces come from, what was measured, and a card."""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.connect.config import CONFIG_NAME, ConnectionConfig, load_config
from pipeline.connect.origins import ORIGINS_NAME, Origins, load_origins
from pipeline.connect.projected import checked_file
from pipeline.errors import UserError
from pipeline.files.atomic import atomic_path, write_text
from pipeline.publish.sources import files_within
from pipeline.spaces import SpaceSpec

CARD_NAME, METRICS_NAME = "README.md", "metrics.json"
HISTORY = "history.parquet"  # with the seconds that each step took, and no part of the model
ABSOLUTE = re.compile(r"(?:/|~|[A-Za-z]:[\\/]|\\\\)")


@dataclass(frozen=True)
class Published:
    """What is published.

    Attributes:
        model: Folder of the connection.
        origins: Where its spaces come from.
        card: Text of the model card.
        metrics: Rows of the metrics that are about the connection.
    """

    model: Path
    origins: Origins
    card: str
    metrics: Sequence[Mapping[str, Any]]


def write_published(published: Published, folder: Path) -> list[str]:
    """Write a folder that `ConnectedSpace.from_pretrained` loads; equal inputs give equal bytes.

    What an earlier call wrote there and this one does not is removed; nothing else is.

    Returns:
        Names of the files, in their order.

    Raises:
        UserError: The folder holds something else, or something that would be published names a place on this machine.
        CorruptError: A file of the model is not the one that was written.
    """
    earlier = _earlier(folder)
    config = load_config(published.model)
    kept = {name: digest for name, digest in config.files.items() if Path(name).name != HISTORY}
    copied = {name: checked_file(config, published.model, name) for name in kept}
    for name, origin in published.origins.spaces.items():
        spec = SpaceSpec(**config.spaces[name].spec)
        copied |= {f"{origin.within}/{inside}": path for inside, path in files_within(spec, origin).items()}
    texts = {
        METRICS_NAME: json.dumps(list(published.metrics), indent=1) + "\n",
        CARD_NAME: published.card,
    }
    outward = _outward(config.model_copy(update={"files": kept}), published.origins)
    _check_no_place(
        {CONFIG_NAME: outward.model_dump_json(), ORIGINS_NAME: published.origins.model_dump_json(), **texts}
    )
    for name, path in copied.items():
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(path, temporary)
    for name, text in texts.items():
        write_text(folder / name, text)
    published.origins.save(folder)
    outward.save(folder)  # the last one: only now is it a finished connection
    written = [CONFIG_NAME, ORIGINS_NAME, *texts, *copied]
    for stale in earlier - set(written):
        (folder / stale).unlink(missing_ok=True)
    return written


def _earlier(folder: Path) -> set[str]:
    """Files that an earlier call wrote to `folder`.

    Raises:
        UserError: It is no folder, or holds anything else.
    """
    if not folder.exists():
        return set()
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / ORIGINS_NAME).is_file()):
        raise UserError(f"{folder} holds other files.", "Name a new or an empty folder.")
    if not (folder / CONFIG_NAME).is_file():
        return set()
    origins = load_origins(folder).spaces.values()
    within = {f"{origin.within}/{name}" for origin in origins if origin.within != "." for name in origin.files}
    return within | set(load_config(folder).files)


def _outward(config: ConnectionConfig, origins: Origins) -> ConnectionConfig:
    """The configuration without places of this machine."""
    content = config.model_dump(mode="json")
    for name, space in content["spaces"].items():
        space["spec"]["checkpoint"] = origins.spaces[name].reference or name
    return ConnectionConfig.model_validate(_without_places(content))


def _without_places(value: Any) -> Any:
    """`value` with every absolute path replaced by its last name."""
    if isinstance(value, dict):
        return {key: _without_places(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    if isinstance(value, str) and ABSOLUTE.match(value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def _check_no_place(texts: Mapping[str, str]) -> None:
    """Refuse to publish where things lie on this machine.

    Raises:
        UserError: A text names the project's folder or the home of who runs this.
    """
    places = {os.getcwd(), os.path.realpath("."), os.path.expanduser("~")} - {"/", ""}
    for name, text in texts.items():
        if found := next((place for place in sorted(places) if re.search(rf"{re.escape(place)}(?![\w-])", text)), None):
            raise UserError(
                f"{name} would name {found}, a place on this machine.",
                "Write that path relative to the project in params.yaml, and run the stages that use it again.",
            )
