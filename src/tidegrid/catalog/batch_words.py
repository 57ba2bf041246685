"""An `#SBATCH` script as Slurm's own sbatch reads it: directives before the first command, split into words.

What sbatch does, from its manual page and its source (`_opt_batch_script`, `_get_argument`): a line that begins with `#SBATCH` is
a directive; blank lines and other comments are passed over; the first other line ends it. Words are split at blanks; quotes of
either kind hold blanks together, a backslash takes the next character as it is, an unquoted `#` begins a comment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidegrid.domain.errors import InvalidInput

DIRECTIVE = "#SBATCH"
_SHEBANG = re.compile(r"^#!\s*(\S+)")


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one directive, and its line, from 1."""

    line: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchScript:
    """text: with Unix line ends; interpreter: what `#!` names; late: lines of directives that stand after the first command,
    which sbatch does not read; remarks: (line, what was done about it)."""

    text: str
    interpreter: str
    directives: tuple[Words, ...]
    late: tuple[int, ...] = ()
    remarks: tuple[tuple[int, str], ...] = ()


def read(text: str) -> BatchScript:
    """InvalidInput (sbatch.no_interpreter, sbatch.text, sbatch.directive) for what is no batch script."""
    remarks: list[tuple[int, str]] = []
    if "\0" in text:
        raise InvalidInput("sbatch.text", "the script holds NUL characters: it is no text", hint="is it a binary?")
    if text.startswith("\ufeff"):
        text = text[1:]
        remarks.append((1, "a byte order mark was taken off"))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        remarks.append((1, "DOS line ends were made Unix ones; sbatch itself refuses them"))
    found = _SHEBANG.match(text)
    if found is None:
        raise InvalidInput(
            "sbatch.no_interpreter", "the first line does not name an interpreter, so this is no batch script",
            hint="begin it with #!/bin/bash, or the interpreter it is for",
        )  # fmt: skip
    directives: list[Words] = []
    late: list[int] = []
    first = 0
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith(DIRECTIVE):
            if first:
                late.append(number)
            else:
                directives.append(Words(number, split(line[len(DIRECTIVE) :], number)))
        elif not first and line.strip() and not line.lstrip().startswith("#"):
            first = number
    return BatchScript(text, found[1], tuple(directives), tuple(late), tuple(remarks))


def split(text: str, line: int) -> tuple[str, ...]:
    """The words of a directive. InvalidInput (sbatch.directive) where a quote is not closed."""
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    letters = iter(text)
    for c in letters:
        if c == "\\":
            word = [*(word or []), next(letters, "")]
        elif quote:
            if c == quote:
                quote = ""
            else:
                assert word is not None
                word.append(c)
        elif c in "'\"":
            quote, word = c, word or []
        elif c == "#":
            break
        elif c.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = [*(word or []), c]
    if quote:
        raise InvalidInput(
            "sbatch.directive", f"line {line}: the quote {quote} is not closed", details={"line": line},
            hint="close it, or take it away",
        )  # fmt: skip
    if word is not None:
        words.append("".join(word))
    return tuple(words)
