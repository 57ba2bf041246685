"""What is common to every log that comes as bytes: unpacking, and the refusals that name a line."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from tidegrid.domain.errors import InvalidInput

MOST = 8 << 30  # bytes unpacked: a log of a hundred million jobs; beyond it a small file was made to fill the memory
_REPAIR = "mend the file, or give --repair to drop or blank what cannot be read, with a count of each"

# What a log is refused for, as `trace.<code>`, and what `--repair` does instead.
CODES = {
    "empty": ("it holds no job", "nothing"),
    "truncated": ("it ends in the middle of a line, or of its gzip data", "keeps the whole lines"),
    "damaged": ("its gzip data are damaged", "nothing"),
    "too_large": ("it unpacks to more than 8 GiB", "nothing"),
    "binary": ("it has bytes that no text has", "nothing"),
    "columns": ("a line has too few or too many columns, or a needed column is not there", "drops the line"),
    "number": ("a value is no number (text, NaN, more than 18 digits)", "makes it unknown; drops the line where it is a time of submission, a run time or a width"),
    "negative": ("a time is negative, or jobs start before they are submitted", "makes it unknown; drops the line where it is the time of submission"),
    "too_wide": ("a job has more processors than the machine", "drops the line"),
    "machines": ("the file of machines beside it cannot be read", "nothing"),
}


def refuse(code: str, message: str, lines: Iterable[tuple[int, str]] = (), *, mendable: bool = True) -> InvalidInput:
    """The refusal of a log: `trace.<code>`; `lines`: (number from 1, what is wrong there), the first one is told in the message."""
    assert code in CODES
    problems = [{"line": n, "message": text} for n, text in lines]
    if problems:
        message = f"line {problems[0]['line']}: {problems[0]['message']}" + (f" ({message})" if message else "")
    details = {"line": problems[0]["line"], "problems": problems[:20]} if problems else {}
    return InvalidInput(f"trace.{code}", message, hint=_REPAIR if mendable else "", details=details)


def unpack(data: bytes, *, repair: bool = False, most: int = MOST) -> tuple[bytes, bool]:
    """The text of a file, gzip or plain: (text, was it cut short). A cut one is refused (`trace.truncated`) unless `repair`.

    Raises InvalidInput: `trace.truncated`, `trace.damaged` (its checksum or its blocks are wrong), `trace.too_large`, `trace.empty`.
    """
    if not data.strip():
        raise refuse("empty", "the log is empty", mendable=False)
    if data[:2] != b"\x1f\x8b":
        return data, False
    out: list[bytes] = []
    size = 0
    while data[:2] == b"\x1f\x8b":
        stream = zlib.decompressobj(31)
        try:
            piece = stream.decompress(data, most - size + 1)
        except zlib.error as error:
            raise refuse("damaged", f"the gzip data are damaged: {error}", mendable=False) from None
        out.append(piece)
        size += len(piece)
        if size > most:
            raise refuse("too_large", f"the log unpacks to more than {most >> 20} MiB", mendable=False)
        if not stream.eof:
            if not repair:
                text = b"".join(out)
                line = text.count(b"\n") + 1
                raise refuse("truncated", "", [(line, "the gzip data end in the middle of the log")])
            return b"".join(out), True
        data = stream.unused_data
    return b"".join(out) if len(out) > 1 else out[0], False


def reject_binary(text: bytes) -> None:
    """Raises InvalidInput `trace.binary` where the text has bytes that no text has."""
    at = text.find(b"\0")
    if at >= 0:
        raise refuse("binary", "", [(text.count(b"\n", 0, at) + 1, "a zero byte: this is no text")], mendable=False)
