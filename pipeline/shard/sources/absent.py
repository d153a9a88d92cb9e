"""What to do about a source that is not there."""

import glob
import os
import re

_VARIABLE = re.compile(r"^\$|/\$|\$\{")  # elsewhere, $ may well be a part of a name


def advice(source: str) -> str:
    """What to write in params.yaml for `source`, which does not exist: a shell or Windows would have understood some."""
    if source != source.strip():
        return "Remove the blanks around it in params.yaml."
    if source.startswith("~") or _VARIABLE.search(source):
        return "Write the whole path in params.yaml: ~ and $ have no meaning there."
    if "\\" in source and os.path.exists(source.replace("\\", "/")):
        return "Write / for the backslashes in params.yaml."
    if "[" in source and glob.glob(source.replace("[", "[[]")):
        return "Write [[] for [ in params.yaml: in a pattern, brackets hold characters to choose from."
    return "Put the data there or correct `source` in params.yaml."
