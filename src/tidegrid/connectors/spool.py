"""The files that a job's prologue leaves in its site's spool: `<attempt b32>.<task>.<restart>.mark`, `.gaveup` or `.end`.

Each is one line that ends in ` .`: a file without that is still being written, and is not there yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tidegrid.connectors.contract import SpoolEntry
from tidegrid.domain.errors import InvalidInput

BODY_LIMIT = 4096
_NAME = re.compile(r"^([0-9a-z]{1,32})\.(\d{1,9})\.(\d{1,9})\.(mark|gaveup|end)$")
_WHOLE = " ."


def entry(name: str, text: str) -> SpoolEntry | None:
    """What a file of the spool says, its first line without the end of it; None for what no prologue left, or not wholly yet."""
    match, line = _NAME.match(name), text.partition("\n")[0]
    if match is None or not line.endswith(_WHOLE) or len(line) > BODY_LIMIT:
        return None
    try:
        line.encode()
    except UnicodeEncodeError:
        return None
    return SpoolEntry(name, match[4], match[1], int(match[2]), int(match[3]), line.removesuffix(_WHOLE))


def require_names(files: Sequence[str]) -> None:
    """InvalidInput (staging.path) for any other name."""
    for name in files:
        if _NAME.match(name) is None:
            raise InvalidInput("staging.path", f"{name!r} is no spool file")
