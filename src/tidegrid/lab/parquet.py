"""Tables as Parquet, by DuckDB. The file's own key-value metadata carry what is no column."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tidegrid.domain.errors import InvalidInput

if TYPE_CHECKING:
    import duckdb

_KEY = "tidegrid"


def connect(path: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """DuckDB. Raises InvalidInput `lab.missing` where it is not installed."""
    try:
        import duckdb
    except ImportError:
        raise InvalidInput("lab.missing", "Parquet needs DuckDB, which is not installed", hint="pip install 'tidegrid[lab]'") from None
    return duckdb.connect(path)


def write(path: Path, tables: Iterable[Mapping[str, np.ndarray | list[Any]]], meta: Mapping[str, Any] | None = None) -> int:
    """Write tables of the same columns, one after another, as one file that is there whole or not at all; how many rows.

    More than a few hundred thousand rows are kept on disk beside the file while they come.
    """
    part = path.with_name(f".{path.name}.part")
    spool = path.with_name(f".{path.name}.duckdb")
    rows = 0
    try:
        with connect(str(spool)) as db:
            for table in tables:
                columns = {name: np.asarray(values) for name, values in table.items()}
                db.register("more", columns)
                db.execute("INSERT INTO rows SELECT * FROM more" if rows else "CREATE TABLE rows AS SELECT * FROM more")
                db.unregister("more")
                rows += len(next(iter(columns.values()))) if columns else 0
            if not rows:
                raise InvalidInput("trace.empty", f"{path}: there is nothing to write")
            extra = f", KV_METADATA {{{_KEY}: {_quoted(json.dumps(meta, ensure_ascii=False))}}}" if meta else ""
            db.execute(f"COPY rows TO {_quoted(str(part))} (FORMAT parquet, COMPRESSION zstd{extra})")
        part.replace(path)
    finally:
        for left in (part, spool, spool.with_name(spool.name + ".wal")):
            left.unlink(missing_ok=True)
    return rows


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(columns, metadata as `write` put them). Raises InvalidInput `trace.parquet` for what is no Parquet file."""
    with connect() as db:
        import duckdb

        try:
            columns = db.execute(f"SELECT * FROM read_parquet({_quoted(str(path))})").fetchnumpy()
            found = db.execute(f"SELECT decode(value) FROM parquet_kv_metadata({_quoted(str(path))}) WHERE decode(key) = '{_KEY}'").fetchone()
        except duckdb.Error as error:
            raise InvalidInput("trace.parquet", f"{path}: {str(error).splitlines()[0]}") from None
    return dict(columns), json.loads(found[0]) if found else {}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
