"""Read params.yaml and report everything that is wrong with it at once, before any work."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.files.plain_yaml import read_yaml
from pipeline.names import RULE
from pipeline.params.baselines import baseline_problems
from pipeline.params.model import Params
from pipeline.params.names import naming_problems
from pipeline.params.problems import described
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
        params, problems = None, described(error.errors())
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
