"""Read params.yaml and report everything that is wrong with it at once, before any work."""

from collections.abc import Hashable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.errors import UserError
from pipeline.params.model import Params
from pipeline.params.references import reference_problems


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key that occurs twice, where YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} occurs twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_params(path: Path) -> Params:
    """Read and check `path`.

    Raises:
        UserError: The file is missing, is no YAML, or has problems; all of them are listed, each with its
            dotted path, its value and, for a misspelt name, the nearest valid one.
    """
    return check_params(read_raw(path), str(path))


def read_raw(path: Path) -> Mapping[str, Any]:
    """Read `path` without checking what it says.

    Raises:
        UserError: The file is missing or is no YAML.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist.", "Run in the project's folder, or name the file with --params.")
    try:
        raw = yaml.load(path.read_text(), _UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}", "Correct the line.") from error
    if not isinstance(raw, Mapping):
        raise UserError(f"{path} holds no settings.", "Start from one of the files in presets/.")
    return raw


def check_params(raw: Mapping[str, Any], source: str) -> Params:
    """Check what a file says; `source` is what an error calls it.

    Raises:
        UserError: There are problems; all of them are listed.
    """
    try:
        params, problems = Params.model_validate(raw), []
    except ValidationError as error:
        params, problems = None, [_describe(detail) for detail in error.errors()]
    problems += reference_problems(raw)
    if params is None or problems:
        listed = "\n  ".join(problems)
        raise UserError(
            f"{source} has {len(problems)} problem(s):\n  {listed}", "Correct the lines above and run again."
        )
    return params


def _describe(detail: Any) -> str:
    location = [part for part in detail["loc"] if part != "function-after"]
    where = ".".join(str(part) for part in written(Params, location))
    if detail["type"] == "union_tag_not_found":
        return f"{where}.{_choices(detail, 'discriminator')[0]}: is required"
    if detail["type"] == "union_tag_invalid":
        where, tags = f"{where}.{_choices(detail, 'discriminator')[0]}", _choices(detail, "expected_tags")
        return f"{where} = {detail['ctx']['tag']!r}: is none of {', '.join(tags)}{nearest(detail['ctx']['tag'], tags)}"
    if detail["type"] == "extra_forbidden":
        names = known_names(Params, location[:-1])
        return f"{where}: there is no such setting{nearest(str(location[-1]), names)}"
    if detail["type"] == "missing":
        return f"{where}: is required"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    close = nearest(str(detail["input"]), _choices(detail, "expected")) if detail["type"] == "literal_error" else ""
    return f"{where} = {detail['input']!r}: {message}{close}"


def _choices(detail: Any, field: str) -> list[str]:
    return [part for part in detail["ctx"][field].split("'") if part.strip(" ,or")]


def nearest(name: str, names: list[str]) -> str:
    """``; did you mean 'x'?`` if one of `names` is close to `name`, the list of names otherwise."""
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose from {', '.join(names)}" if names else ""


def known_names(model: type[BaseModel], location: list[Any]) -> list[str]:
    """Names of the settings that may stand at the dotted `location` below `model`."""
    annotation: Any = model
    for part in location:
        annotation = _descend(annotation, part)
    members = _members(annotation)
    annotation = members[0] if len(members) == 1 else annotation
    return list(annotation.model_fields) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def written(model: type[BaseModel], location: list[Any]) -> list[Any]:
    """`location` as a person writes it: pydantic also names the member of a union, by its tag."""
    annotation: Any = model
    parts = []
    for part in location:
        if not any(part in _tags(member) for member in _members(annotation)):
            parts.append(part)
        annotation = _descend(annotation, part)
    return parts


def _descend(annotation: Any, part: Any) -> Any:
    origin = get_origin(annotation)
    if members := _members(annotation):
        tagged = [member for member in members if part in _tags(member)]
        return tagged[0] if tagged else _descend(members[0], part)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and part in annotation.model_fields:
        return annotation.model_fields[part].annotation
    return get_args(annotation)[1] if origin in (dict, Mapping) else None


def _members(annotation: Any) -> list[Any]:
    """The models of a union, without None; nothing if it is none."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    return [member for member in members if member is not type(None)]


def _tags(annotation: Any) -> tuple[Any, ...]:
    """Values by which a union knows the model: of a connection its method, of a task its kind."""
    fields = annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}
    return tuple(tag for name in ("task", "method") if name in fields for tag in get_args(fields[name].annotation))
