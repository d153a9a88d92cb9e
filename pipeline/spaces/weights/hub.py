"""The Hugging Face Hub: what its errors mean for a person."""

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import McrError, TryAgainError, UserError

TRANSPORTS = {"requests", "httpx", "httpx2", "httpcore", "urllib3"}  # what versions of huggingface_hub speak through
# What another try may get past: the server was busy or gave up waiting, or somebody else was writing there.
PASSING = {408, 409, 412, 423, 425, 429}
HUB = "hf-hub:"  # before the name of a repository: hf-hub:owner/name@revision


@contextmanager
def hub_errors(what: str, endpoint: str | None = None, writing: bool = False) -> Iterator[None]:
    """Turn what huggingface_hub raises into a sentence about `what`, a file or a repository.

    Args:
        what: What was asked for.
        endpoint: Address of the hub, where it is not the usual one.
        writing: Whether it is written, not read.

    Raises:
        UserError: It needs a login or a form, is not there, the server refuses what was asked for, the address of the
            hub is none, or the hub may not be asked.
        TryAgainError: The hub cannot be reached or is busy, somebody else writes there, or the connection broke.
    """
    from huggingface_hub import constants, errors

    place = (endpoint or constants.ENDPOINT).rstrip("/")
    try:
        yield
    except errors.GatedRepoError as error:
        raise UserError(
            f"{what} is gated: its owner grants access on request.",
            f"Log in at {place}, fill in the form on the page of the repository, then run `hf auth login` (or set "
            "HF_TOKEN) and this command again.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{what} does not exist: the repository has no such revision.", "Look up the commit on its page."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{what} does not exist, or is private.",
            f"Check the name at {place}; if it is private, run `hf auth login` (or set HF_TOKEN) with an account that "
            "may read it.",
        ) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            if isinstance(error.__cause__, errors.HfHubHTTPError):  # snapshot_download hides what the hub answered
                raise _answered(what, place, writing, error.__cause__) from error
            raise _unreachable(what, place, writing) from error
        raise UserError(f"{what} does not exist.", "Look up the file name on the page of the repository.") from error
    except errors.HfHubHTTPError as error:
        raise _answered(what, place, writing, error) from error
    except errors.LocalTokenNotFoundError as error:
        raise UserError(
            f"{what} needs a login, and there is none on this machine.", "Run `hf auth login`, or set HF_TOKEN."
        ) from error
    except (errors.OfflineModeIsEnabled, errors.FileMetadataError) as error:
        raise _unreachable(what, place, writing) from error
    except Exception as error:
        if isinstance(error, errors.HFValidationError):
            raise UserError(
                f"{what} cannot be on the hub: {str(error).rstrip('.')}.", "Correct the name of the repository."
            ) from error
        if (response := getattr(error, "response", None)) is not None and hasattr(response, "status_code"):
            raise _answered(what, place, writing, error) from error
        if isinstance(error, JSONDecodeError | KeyError):  # KeyError: a redirection that leads nowhere
            message = f"{what} was not {'written' if writing else 'fetched'}: {place} answers as no hub does."
            if place != constants._HF_DEFAULT_ENDPOINT:
                raise UserError(message, "Check that HF_ENDPOINT is the address of a hub or of a mirror.") from error
            raise TryAgainError(
                message, "Open any page in a browser: the network may ask for a login first."
            ) from error
        broken = isinstance(error, ConnectionError) or "Consistency check failed" in str(error)
        foreign = type(error).__module__.partition(".")[0] in TRANSPORTS
        if not broken and not foreign and (_is_address(place) or not isinstance(error, ValueError)):
            raise
        raise _unreachable(what, place, writing, f" {type(error).__name__}.") from error


def _unreachable(what: str, place: str, writing: bool, said: str = "") -> McrError:
    from huggingface_hub import constants

    if writing and constants.HF_HUB_OFFLINE:
        return UserError(f"{what} was not written: HF_HUB_OFFLINE is set.", "Unset it on a machine with a network.")
    if not constants.HF_HUB_OFFLINE and not _is_address(place):
        shown = place if place.strip() == place and place else repr(place)
        return UserError(f"HF_ENDPOINT is {shown}, which is not an address.", "Write it as https://host, or unset it.")
    if writing:
        return TryAgainError(
            f"{what} was not written: {place} cannot be reached, or the connection broke.{said}",
            "Check the network, then run the same command again.",
        )
    if constants.HF_HUB_OFFLINE:
        return UserError(
            f"{what} is not on this machine, and HF_HUB_OFFLINE is set.",
            "Unset it on a machine with a network and run `mcr fetch`, or copy the files from such a machine.",
        )
    return TryAgainError(
        f"{what} was not fetched: {place} cannot be reached, or the connection broke.{said}",
        "Check the network, or set HF_ENDPOINT to a mirror; the same command continues where this one stopped.",
    )


def _answered(what: str, place: str, writing: bool, error: Any) -> McrError:
    """What an answer of the hub other than success means."""
    status = getattr(error.response, "status_code", None)
    if status in (401, 403):
        return UserError(
            f"{what} may not be {'written' if writing else 'read'}: {place} answers {status}.",
            f"Run `hf auth login` (or set HF_TOKEN) with an account that may {'write' if writing else 'read'} it, or "
            "renew an expired token.",
        )
    if status is None:
        return _unreachable(what, place, writing)
    said = " ".join(f"{status} {getattr(error, 'server_message', '') or ''}".split()).rstrip(".")
    message = f"{what} was not {'written' if writing else 'fetched'}: {place} answers {said}."
    if 400 <= status < 500 and status not in PASSING:
        return UserError(
            message,
            "Check the names in it; if HF_ENDPOINT is set, check that it is the address of a hub or of a mirror.",
        )
    return TryAgainError(message, "Run the same command again in a while.")


def _is_address(place: str) -> bool:
    try:
        parts = urlsplit(place)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and place.split() == [place]
        )
    except ValueError:  # a port or brackets that no address has
        return False
