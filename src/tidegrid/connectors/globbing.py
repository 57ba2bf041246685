"""File patterns as users write them: `*` and `?` stay within a name, `**` crosses directories, `[ab]` is a set."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a relative path matches any of the patterns. A pattern that names a directory matches all below it."""
    whole = re.compile("|".join(f"(?:{_regex(p)})" for p in patterns) or r"(?!)")
    return lambda path: whole.fullmatch(path) is not None


def _regex(pattern: str) -> str:
    text = pattern.removeprefix("./").rstrip("/")
    out, i = "", 0
    while i < len(text):
        if text.startswith("**/", i):
            out, i = out + "(?:.*/)?", i + 3
        elif text.startswith("**", i):
            out, i = out + ".*", i + 2
        elif text[i] == "*":
            out, i = out + "[^/]*", i + 1
        elif text[i] == "?":
            out, i = out + "[^/]", i + 1
        elif text[i] == "[" and (end := text.find("]", i + 2)) > 0:
            inner = text[i + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out, i = out + f"[{'^' + inner[1:] if inner[0] in '!^' else inner}]", end + 1
        else:
            out, i = out + re.escape(text[i]), i + 1
    return out + "(?:/.*)?"
