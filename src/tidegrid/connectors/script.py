"""Fills the batch script of `payload`: one quoting function, plain replacement, nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

BATCH_FILE = "job.sh"  # what the cluster runs: SubmitRequest.script
COMMAND_FILE = "script"  # what the application document or the user wrote
CONTINUE_FILE = "continue"  # the same for a task that goes on from a checkpoint, which lies in `ckpt/<task>/`

_NAME = re.compile(r"@([A-Z_]+)@")
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def render_job(
    template: str,
    *,
    attempt: str,
    root: str,
    directory: str,
    movable: bool,
    restartable: bool,
    wait_s: int,
    stop_s: int | None = None,
    array: bool = False,
    command_file: str = COMMAND_FILE,
    continue_file: str = CONTINUE_FILE,
    env: Mapping[str, str] | None = None,
) -> str:
    """The batch script of one attempt.

    attempt: its id in base32, without prefix; root: absolute path of the site's root; directory: the attempt's, relative to
    the root; command_file, continue_file: the application scripts in it; wait_s: how long a movable attempt waits for its permit;
    stop_s: how long one that has started on its site's lease runs without (the same where None); env: exported to the application.
    ValueError where a value cannot stand in a script.
    """
    if not root.startswith("/"):
        raise ValueError(f"the site's root {root!r} is not absolute")
    values = {
        "ATTEMPT": shell_quote(attempt),
        "ROOT": shell_quote(root.rstrip("/")),
        "DIRECTORY": shell_quote(f"{root.rstrip('/')}/{directory}"),
        "COMMAND": shell_quote(command_file),
        "CONTINUE": shell_quote(continue_file),
        "MOVABLE": str(int(movable)),
        "RESTARTABLE": str(int(restartable)),
        "WAIT_S": str(int(wait_s)),
        "STOP_S": str(int(wait_s if stop_s is None else stop_s)),
        "ARRAY": str(int(array)),
        "EXPORTS": "\n".join(f"export {_variable(k)}={shell_quote(v)}" for k, v in (env or {}).items()),
    }

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ValueError(f"the batch script asks for {match[0]}, which nobody gives")
        return values[match[1]]

    return _NAME.sub(value, template)  # one pass: a value that looks like a name stays as it is


def shell_quote(text: str) -> str:
    """`text` as one word of a POSIX shell. ValueError for NUL, which no shell can hold."""
    if "\0" in text:
        raise ValueError("a value holds a NUL character")
    return shlex.quote(text)


def without_fence(script: str) -> str:
    """The script with its fence cut out: for the control run that must show duplicates, never for real work."""
    return re.sub(r"(?ms)^# fence \{$.*?^# \}$", "", script)


def _variable(name: str) -> str:
    if not _VARIABLE.match(name):
        raise ValueError(f"{name!r} is no name of an environment variable")
    return name
