"""Which format a log has, by its first lines."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.traces.gpu import read_openb, read_philly, read_tiresias
from tidegrid.simulation.traces.plain import read_csv
from tidegrid.simulation.traces.sacct import read_sacct
from tidegrid.simulation.traces.swf import read_swf
from tidegrid.simulation.traces.trace import Trace

_READERS: dict[str, Callable[..., Trace]] = {
    "sacct": read_sacct, "philly": read_philly, "openb": read_openb, "tiresias": read_tiresias, "csv": read_csv,
}  # fmt: skip
FORMATS = ("swf", *_READERS)


def recognise(data: bytes) -> str:
    """`swf` where nothing else is recognised."""
    head = data[:65536]
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(31).decompress(data, 65536)
        except zlib.error:
            return "swf"
    lines = (line.strip() for line in head.removeprefix(b"\xef\xbb\xbf").splitlines())
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    if b"|" in first and b"JobID" in first:
        return "sacct"
    names = set(first.decode("utf-8", "replace").replace('"', "").split(","))
    for kind, needed in (("philly", {"timestamp", "duration", "num_gpus"}), ("openb", {"cpu_milli", "num_gpu", "creation_time"}),
                         ("tiresias", {"num_gpu", "submit_time", "duration"}), ("csv", {"submit", "run"})):  # fmt: skip
        if needed <= names:
            return kind
    return "csv" if first.count(b",") > 2 and not first.startswith(b";") and not first[:1].isdigit() else "swf"


def read_log(data: bytes, *, form: str = "", repair: bool = False, processors: int | None = None) -> Trace:
    """Read a log of any of `FORMATS`; '' recognises which. `processors`: the machine's, where the log does not say (SWF only checks it).

    Raises InvalidInput `trace.format` for a format that there is not, else what the reader raises.
    """
    form = form or recognise(data)
    if form == "swf":
        return read_swf(data, repair=repair, processors=processors)
    if form not in _READERS:
        raise InvalidInput("trace.format", f"there is no format {form!r}", hint=f"it is one of {', '.join(FORMATS)}")
    return _READERS[form](data, repair=repair)
