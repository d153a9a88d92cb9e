"""What is wrong with a value of params.yaml, in words: from what pydantic found, by the names that a person wrote."""

from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from pipeline.errors import nearest
from pipeline.files.address import without_password
from pipeline.files.plain_yaml import shown
from pipeline.methods import methods
from pipeline.params.model import Params

# What a value may be that may also be a word, by what pydantic says where it is neither.
KINDS = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list such as [0, 1]"),
}


def described(details: Sequence[Any]) -> list[str]:
    """One sentence for each value that is wrong, with its dotted path.

    A value that may be of several kinds, such as a number or `auto`, is wrong for each of them: that is one problem.

    Args:
        details: What pydantic found.
    """
    of_value: dict[tuple[str, ...], list[Any]] = {}
    for detail in details:
        if not _follows(detail):
            of_value.setdefault(tuple(map(str, _path(detail))), []).append(detail)
    return [_describe(_told(same)) for path, same in of_value.items() if not _inside(path, same, of_value)]


def _path(detail: Any) -> list[Any]:
    return written(Params, [part for part in detail["loc"] if part != "function-after"])


def _inside(path: tuple[str, ...], same: list[Any], paths: Iterable[tuple[str, ...]]) -> bool:
    """Whether an entry of the value at `path` is wrong: that the value itself is not one of some words says nothing then."""
    words_only = all(detail["type"] == "literal_error" for detail in same)
    return words_only and any(other[: len(path)] == path != other for other in paths)


def _told(same: list[Any]) -> Any:
    """Of what one value is wrong for, that which it comes nearest to, with the words that it may be instead."""
    nearest_kind = min(same, key=lambda detail: (detail["type"].endswith(("_type", "_parsing")), same.index(detail)))
    words = [detail["ctx"]["expected"] for detail in same if detail["type"] == "literal_error" and len(same) > 1]
    if not words:
        return nearest_kind
    if nearest_kind["type"] == "literal_error":
        kinds = [KINDS[detail["type"]] for detail in same if detail["type"] in KINDS]
        return {**nearest_kind, "msg": " or ".join([nearest_kind["msg"], *kinds]), "kinds": kinds}
    return {**nearest_kind, "msg": f"{nearest_kind['msg']}, or {' or '.join(words)}"}


def _follows(detail: Any) -> bool:
    """Whether a list is only found too short because entries of it, which are reported themselves, were left out."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _describe(detail: Any) -> str:
    location = [part for part in detail["loc"] if part != "function-after"]
    where = ".".join(shown(str(part)) for part in _path(detail))
    if detail["type"] == "union_tag_not_found":
        required, said = _choices(detail, "discriminator")[0], detail["input"]
        similar = nearest(required, map(str, said)) if isinstance(said, Mapping) else ""
        instead = f"; {similar!r} is not a setting, did you mean {required!r}?" if similar else ""
        return f"{where}.{required}: is required{instead}"
    if detail["type"] == "union_tag_invalid":
        where, tags = f"{where}.{_choices(detail, 'discriminator')[0]}", _choices(detail, "expected_tags")
        tag = detail["ctx"]["tag"]
        return f"{where} = {shown(repr(tag))}: is none of {', '.join(tags)}{_instead(str(tag), tags)}"
    if detail["type"] == "extra_forbidden":
        names = known_names(Params, location[:-1])
        return f"{where}: there is no such setting{_of_others(location)}{_instead(str(location[-1]), names)}"
    if detail["type"] == "missing":
        return f"{where}: is required"
    said = detail["msg"].removeprefix("Value error, ")
    message = _shape(detail) or said[0].lower() + said[1:]
    close = _instead(str(detail["input"]), _choices(detail, "expected")) if detail["type"] == "literal_error" else ""
    if detail.get("kinds") and "did you mean" not in close:  # the words are not all that there is to choose from
        close = ""
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


def _instead(name: str, names: list[str]) -> str:
    """``; did you mean 'x'?`` if one of `names` is close to `name`, the list of names otherwise."""
    if close := nearest(name, names):
        return f"; did you mean {close!r}?"
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
    """`location` as a person writes it: pydantic also names the member of a union, by its tag or its type."""
    annotation: Any = model
    parts = []
    for part in location:
        members = _members(annotation)
        plain = len(members) > 1 and not any(_tags(member) for member in members)
        if not plain and not any(part in _tags(member) for member in members):
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
