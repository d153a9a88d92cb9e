"""The Hugging Face Hub: what its errors mean for a person."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import UserError

HUB = "hf-hub:"  # before the name of a repository: hf-hub:owner/name@revision


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into a sentence about `what`, a file or a repository.

    Raises:
        UserError: It needs a login or a form, is not there, or cannot be reached.
    """
    from huggingface_hub import constants, errors

    place = constants.ENDPOINT.rstrip("/")
    try:
        yield
    except errors.GatedRepoError as error:
        raise UserError(
            f"{what} is gated: its owner gives it to those who ask.",
            f"Log in at {place}, fill in the form on the page of the repository, then run `hf auth login` (or set "
            "HF_TOKEN) and this command again.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{what} does not exist: the repository has no such revision.", "Look up the commit on its page."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{what} is not there, or is private.",
            f"Check the name at {place}; if it is private, run `hf auth login` (or set HF_TOKEN) with an account that "
            "may read it.",
        ) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _unreachable(what, place) from error
        raise UserError(f"{what} does not exist.", "Look up the file name on the page of the repository.") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise UserError(
                f"{what} may not be read: {place} answers {status}.",
                "Run `hf auth login` (or set HF_TOKEN) with an account that may read it, or renew an expired token.",
            ) from error
        raise _unreachable(what, place, f" It answers {status}.") from error
    except errors.OfflineModeIsEnabled as error:
        raise _unreachable(what, place) from error


def _unreachable(what: str, place: str, said: str = "") -> UserError:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return UserError(
            f"{what} is not on this machine, and HF_HUB_OFFLINE is set.",
            "Unset it where there is a network and run `mcr fetch`, or copy the files from such a machine.",
        )
    return UserError(
        f"{what} cannot be fetched: {place} cannot be reached.{said}",
        "Check the network, or set HF_ENDPOINT to a mirror; run the same command again to continue.",
    )
