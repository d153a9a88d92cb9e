"""What a store behind an address refuses, in words: wrong credentials, no such bucket, a network that is cut.

Every client has errors of its own, so they are told by their names and by the codes that stores answer. Their texts are
not repeated: nobody knows what is in them.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import McrError, TryAgainError, UserError
from pipeline.files.os_errors import explained

_CREDENTIALS = ("Credential", "Token", "SSO", "ProfileNotFound", "RefreshError", "Authentication", "PermissionError")
_DENIED = {401, 403, "401", "403"}
_OF_THE_ADDRESS = ("ParamValidation", "NoRegion", "InvalidRegion", "ValueError", "InvalidBucket", "UnknownEndpoint")
_INVALID = {errno.EINVAL, errno.ENOENT, errno.ENAMETOOLONG}
_CANNOT = {errno.ENOSYS, errno.EPERM, errno.EROFS}
_OF_THIS_DISK = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def in_words(address: str) -> Iterator[None]:
    """Around whatever asks the store behind `address`.

    Raises:
        UserError: No such bucket, no permission, wrong or no credentials: somebody has to put it right.
        TryAgainError: The network or the store failed, or this machine's disk is full: later the same may succeed.
    """
    try:
        yield
    except Exception as error:
        raise _said(error, address) from error


def _said(error: Exception, address: str) -> McrError:
    name, reason = type(error).__name__, _reason(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in _OF_THIS_DISK and (full := explained(error)):
        return full
    status = getattr(error, "code", None) or getattr(error, "status", None)
    if isinstance(error, PermissionError) or status in _DENIED or any(word in name for word in _CREDENTIALS):
        return UserError(
            f"{address} cannot be used ({reason}): the credentials are missing, wrong, or do not permit this.",
            "Set valid ones in the environment or in the client's standard configuration (docs/guide/remote.md).",
        )
    if isinstance(error, FileNotFoundError):
        return UserError(f"There is no {address}, or its bucket does not exist ({reason}).", "Make the bucket first.")
    if isinstance(error, NotImplementedError) or number in _CANNOT:
        return UserError(f"{address} cannot be written to or listed ({reason}).", "Choose another place in `storage`.")
    if number in _INVALID or any(word in name for word in _OF_THE_ADDRESS):
        return UserError(f"The store does not accept {address} ({reason}).", "Correct `storage` in params.yaml.")
    return TryAgainError(
        f"{address} could not be reached, or the store failed ({reason}).",
        "Check the network and the endpoint; then run the same command again, which continues where this one stopped.",
    )


def _reason(error: Exception) -> str:
    """The code that the store answered, such as ``NoSuchBucket``; otherwise the name of the error."""
    for each in (error, error.__cause__):
        answer = getattr(each, "response", None)
        if isinstance(answer, dict) and isinstance(answer.get("Error"), dict) and answer["Error"].get("Code"):
            return str(answer["Error"]["Code"])
    return type(error.__cause__ or error).__name__
