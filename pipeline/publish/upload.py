"""A published folder to a repository of the Hugging Face Hub."""

import re
from pathlib import Path

from pipeline.errors import UserError
from pipeline.spaces.weights.hub import hub_errors

PREFIX = "hub:"


def repository_of(target: str) -> str:
    """``owner/name`` in ``hub:owner/name``.

    Raises:
        UserError: It is none.
    """
    import huggingface_hub.utils as hub
    from huggingface_hub.errors import HFValidationError

    name = target.removeprefix(PREFIX)
    try:
        hub.validate_repo_id(name)  # type: ignore[attr-defined]
        valid = target.startswith(PREFIX) and re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII)
    except HFValidationError:
        valid = None
    if not valid:
        raise UserError(
            f"{target} names no repository.",
            "Write it as hub:owner/name, with letters, digits, single dashes and dots, and _.",
        )
    return name


def upload(folder: Path, repository: str, names: list[str], private: bool, message: str) -> str:
    """Make the files `names` of `folder` one commit of `repository`, which is made if it does not exist.

    Returns:
        The commit.

    Raises:
        UserError: There is no login, or it may not write there.
        TryAgainError: The hub cannot be reached.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi()
    with hub_errors(f"The repository {repository}", writing=True):
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=names, commit_message=message)
    return str(done.oid)
