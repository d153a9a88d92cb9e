"""Read params.yaml and report everything that is wrong with it at once, before any work."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.errors import UserError
from pipeline.files.address import without_password
from pipeline.files.plain_yaml import read_yaml, shown
from pipeline.methods import methods
from pipeline.names import RULE
from pipeline.params.baselines import baseline_problems
from pipeline.params.model import Params
from pipeline.params.names import naming_problems
from pipeline.params.references import reference_problems
from pipeline.settings import DECLARED

MOST_LISTED = 50


def load_params(path: Path) -> Params:
    """Read and check `path`.

    Raises:
        UserError: The file is missing, is not YAML, or has problems; all of them are listed, each with its
            dotted path, its value and, for a misspelt name, the nearest valid one.
    """
    return check_params(read_raw(path), str(path))


def read_raw(path: Path) -> Mapping[str, Any]:
    """Read `path` without checking what it says.

    Raises:
        UserError: The file is missing, is not YAML, or is beyond the limits of `read_yaml`.
    """
    raw = read_yaml(path).content
    if not isinstance(raw, Mapping):
        raise UserError(f"{path} holds no settings.", "Start from one of the files in presets/.")
    return raw


def check_params(raw: Mapping[str, Any], source: str, named: bool = True) -> Params:
    """Check what a file says.

    Args:
        raw: What it says.
        source: What an error calls it.
        named: Whether a person gave the names; those of a sweep's variants follow another rule.

    Raises:
        UserError: There are problems; all of them are listed.
    """
    try:
        params = Params.model_validate(raw, context={DECLARED: _declared(raw)})
        problems = [*_truths_for_numbers(raw, params.model_dump(), ""), *baseline_problems(params)]
    except ValidationError as error:
        params, problems = None, [_describe(detail) for detail in error.errors() if not _follows(detail)]
    naming = naming_problems(raw) if named else []
    problems = naming + problems + reference_problems(raw)
    if params is None or problems:
        listed = "\n  ".join(problems[:MOST_LISTED])
        more = f"\n  and {len(problems) - MOST_LISTED} more" if len(problems) > MOST_LISTED else ""
        hint = f"Correct the lines above and run again.{f' {RULE}' if naming else ''}"
        raise UserError(f"{source} has {len(problems)} problem(s):\n  {listed}{more}", hint)
    return params


def _declared(raw: Mapping[str, Any]) -> dict[str, str]:
    """Modalities of an unchecked params.yaml; those that are malformed are left out, and reported as such elsewhere."""
    said = raw.get("modalities")
    return {str(k): v for k, v in said.items() if isinstance(v, str)} if isinstance(said, Mapping) else {}


def _truths_for_numbers(raw: object, understood: object, where: str) -> Iterator[str]:
    """Where `raw` says true or false and a number was understood: Python counts `true` as 1, and nobody means it."""
    if isinstance(raw, bool) and not isinstance(understood, bool):
        yield f"{where[1:]} = {str(raw).lower()}: is a truth value; write {understood}"
    elif isinstance(raw, Mapping) and isinstance(understood, Mapping):
        for key in raw.keys() & understood.keys():
            yield from _truths_for_numbers(raw[key], understood[key], f"{where}.{key}")
    elif isinstance(raw, list) and isinstance(understood, list | tuple):
        for number, pair in enumerate(zip(raw, understood, strict=False)):
            yield from _truths_for_numbers(*pair, f"{where}.{number}")


def _follows(detail: Any) -> bool:
    """Whether a list is only found too short because entries of it, which are reported themselves, were left out."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _describe(detail: Any) -> str:
    location = [part for part in detail["loc"] if part != "function-after"]
    where = ".".join(shown(str(part)) for part in written(Params, location))
    if detail["type"] == "union_tag_not_found":
        required, said = _choices(detail, "discriminator")[0], detail["input"]
        similar = get_close_matches(required, map(str, said), n=1) if isinstance(said, Mapping) else []
        instead = f"; {similar[0]!r} is not a setting, did you mean {required!r}?" if similar else ""
        return f"{where}.{required}: is required{instead}"
    if detail["type"] == "union_tag_invalid":
        where, tags = f"{where}.{_choices(detail, 'discriminator')[0]}", _choices(detail, "expected_tags")
        tag = detail["ctx"]["tag"]
        return f"{where} = {shown(repr(tag))}: is none of {', '.join(tags)}{nearest(str(tag), tags)}"
    if detail["type"] == "extra_forbidden":
        names = known_names(Params, location[:-1])
        return f"{where}: there is no such setting{_of_others(location)}{nearest(str(location[-1]), names)}"
    if detail["type"] == "missing":
        return f"{where}: is required"
    message = _shape(detail) or detail["msg"][0].lower() + detail["msg"][1:]
    close = nearest(str(detail["input"]), _choices(detail, "expected")) if detail["type"] == "literal_error" else ""
    return f"{where} = {shown(without_password(repr(detail['input'])))}: {shown(message, 200)}{close}"


def _of_others(location: list[Any]) -> str:
    """Which methods have the setting at `location`, if the one of its connection has not."""
    table, entry, own, *inner = location if len(location) > 3 else [""] * 4
    if table != "connections":
        return ""
    found = [name for name in methods() if inner[-1] in known_names(Params, [table, entry, name, *inner[:-1]])]
    return f" of method {own}, only of {', '.join(found)}" if found else ""


def _shape(detail: Any) -> str:
    """What is wrong with a value that is empty, no list or no mapping where one has to be, in words of YAML; "" for others."""
    kind, value = detail["type"], detail["input"]
    if kind in ("tuple_type", "list_type"):
        example = f"[{value}]" if isinstance(value, str | int | float) else "[first, second]"
        return f"is not a list; write {example}"
    if kind in ("dict_type", "mapping_type", "model_type", "model_attributes_type"):
        return "is not a mapping; write `name: value` in lines below it, or {name: value}"
    return "is empty; at least one is needed" if kind == "too_short" and not value else ""


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
