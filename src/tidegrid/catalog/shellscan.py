"""Where in a shell script an inserted value stands.

A value quoted for the shell is one harmless word only in unquoted text. Inside "…", in a here-document, in backquotes,
in `$((…))` or `${…}` its own quotes mean something else, and `$(…)` in a value would run. So a rendered script carries
marks around its values, and `place` accepts them only where quoting holds.
"""

from __future__ import annotations

import re

OPEN, CLOSE = "\ue000", "\ue001"  # around a quoted value
RAW_OPEN, RAW_CLOSE = "\ue002", "\ue003"  # around a text that is a script itself
MARKS = (OPEN, CLOSE, RAW_OPEN, RAW_CLOSE)
_HEREDOC = re.compile(r"<<(-?)[ \t]*(\\?['\"]?)([A-Za-z0-9_.]+)['\"]?")
_WORD_END = " \t\n;&|()<>"


class Misplaced(ValueError):
    """A value stands where quoting does not protect it. line counts from 1 in the script."""

    def __init__(self, line: int, where: str) -> None:
        super().__init__(f"line {line} of the script: a value stands {where}, where quoting does not protect it")
        self.line, self.where = line, where


def place(marked: str) -> str:
    """The script without its marks; `Misplaced` where one of its values is not safe where it stands."""
    return _Scan(marked).run()


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.i = 0
        self.out: list[str] = []
        self.stack: list[str] = ["plain"]  # plain | double | command | arithmetic | paren | brace | back
        self.pending: list[tuple[str, bool]] = []  # here-documents to come: end word, whether tabs are stripped

    def run(self) -> str:
        text, n = self.text, len(self.text)
        while self.i < n:
            c = text[self.i]
            if c == OPEN:
                self.value()
            elif c == RAW_OPEN:
                self.raw()
            elif c == "\\":
                self.take(2)
            elif self.top in ("plain", "command"):
                self.unquoted(c)
            else:
                self.quoted(c)
        return "".join(self.out)

    @property
    def top(self) -> str:
        return self.stack[-1]

    def take(self, count: int = 1) -> None:
        piece = self.text[self.i : self.i + count]
        for mark in (OPEN, RAW_OPEN):
            if mark in piece:
                raise Misplaced(self.line(), "after a backslash or in a marker")
        self.out.append(piece)
        self.i += count

    def line(self) -> int:
        return "".join(self.out).count("\n") + 1

    def value(self) -> None:
        names = {
            "double": 'inside "…"',
            "arithmetic": "inside $((…))",
            "paren": "inside $((…))",
            "brace": "inside ${…}",
            "back": "inside backquotes",
        }
        if self.top in names:
            raise Misplaced(self.line(), names[self.top])
        end = self.text.index(CLOSE, self.i)
        self.out.append(self.text[self.i + 1 : end])
        self.i = end + 1

    def raw(self) -> None:
        alone = self.stack == ["plain"] and not self.pending and "".join(self.out[-1:])[-1:] in ("", "\n")
        if not alone:
            raise Misplaced(self.line(), "as raw script text, not at the start of a line of its own")
        end = self.text.index(RAW_CLOSE, self.i)
        self.out.append(self.text[self.i + 1 : end])
        self.i = end + 1

    def unquoted(self, c: str) -> None:
        rest = self.text[self.i : self.i + 3]
        if c == "'":
            self.span("'", "inside '…'", 1)
        elif rest.startswith("$'"):
            self.dollar_single()
        elif c == '"':
            self.push("double")
        elif c == "`":
            self.push("back")
        elif self.expansion(rest):
            pass
        elif c == "#" and self.starts_word():
            self.comment()
        elif rest.startswith("<<") and not rest.startswith("<<<"):
            self.heredoc()
        elif rest == "<<<":
            self.take(3)
        elif c == "(" and self.top == "command":
            self.push("command")
        elif c == ")" and self.top == "command":
            self.pop()
        elif c == "\n" and self.pending:
            self.take()
            self.bodies()
        else:
            self.take()

    def quoted(self, c: str) -> None:
        rest = self.text[self.i : self.i + 3]
        if self.top == "back":
            self.pop() if c == "`" else self.take()
        elif self.expansion(rest):
            pass
        elif c == "`":
            self.push("back")
        elif self.top == "double":
            self.pop() if c == '"' else self.take()
        elif self.top == "brace":
            self.pop() if c == "}" else self.push("double") if c == '"' else self.take()
        elif c == "(":
            self.push("paren")
        elif c == ")" and self.top == "paren":
            self.pop()
        elif rest.startswith("))"):
            self.take()
            self.pop()
        else:
            self.take()

    def expansion(self, rest: str) -> bool:
        for opener, kind in (("$((", "arithmetic"), ("$(", "command"), ("${", "brace")):
            if rest.startswith(opener):
                self.push(kind, len(opener))
                return True
        return False

    def push(self, kind: str, width: int = 1) -> None:
        self.take(width)
        self.stack.append(kind)

    def pop(self) -> None:
        self.take()
        self.stack.pop()

    def starts_word(self) -> bool:
        return self.i == 0 or self.text[self.i - 1] in _WORD_END

    def dollar_single(self) -> None:
        end = self.i + 2
        while end < len(self.text) and self.text[end] != "'":
            end += 2 if self.text[end] == "\\" else 1
        self.literal(end + 1, "inside $'…'")

    def comment(self) -> None:
        end = self.text.find("\n", self.i)
        self.literal(len(self.text) if end < 0 else end, "in a comment")

    def span(self, closer: str, where: str, skip: int) -> None:
        end = self.text.find(closer, self.i + skip)
        self.literal(len(self.text) if end < 0 else end + len(closer), where)

    def literal(self, end: int, where: str) -> None:
        piece = self.text[self.i : end]
        if any(m in piece for m in MARKS):
            raise Misplaced(self.line() + piece[: piece.find(OPEN)].count("\n"), where)
        self.out.append(piece)
        self.i = end

    def heredoc(self) -> None:
        match = _HEREDOC.match(self.text, self.i)
        if match is None:
            raise Misplaced(self.line(), "after a << whose end word is not plain text")
        self.pending.append((match[3], match[1] == "-"))
        self.take(match.end() - match.start())

    def bodies(self) -> None:
        """The bodies of here-documents: no value may stand there, for a value could hold the end word."""
        while self.pending:
            word, tabs = self.pending.pop(0)
            while self.i < len(self.text):
                end = self.text.find("\n", self.i)
                end = len(self.text) if end < 0 else end
                line = self.text[self.i : end]
                self.literal(min(end + 1, len(self.text)), "in a here-document")
                if (line.lstrip("\t") if tabs else line) == word:
                    break
