"""What tables are made of. Times are int64 microseconds UTC, money int64 micro-yuan, JSON is text."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Integer, MetaData, Text, text

metadata = MetaData()
ROW_ID = BigInteger().with_variant(Integer, "sqlite")


def id_() -> Column[int]:
    return Column("id", ROW_ID, primary_key=True, autoincrement=False)


def int_(name: str, default: int | None = 0, **kw: object) -> Column[int]:
    if default is None:
        return Column(name, BigInteger, nullable=True, **kw)  # type: ignore[arg-type]
    return Column(name, BigInteger, nullable=False, server_default=str(default), **kw)  # type: ignore[arg-type]


def float_(name: str) -> Column[float]:
    return Column(name, Float(53), nullable=True)


def text_(name: str, default: str | None = "") -> Column[str]:
    if default is None:
        return Column(name, Text, nullable=True)
    return Column(name, Text, nullable=False, server_default=default)


def bool_(name: str, default: bool = False) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("true" if default else "false"))


def org_() -> Column[int]:
    return Column("org_id", BigInteger, ForeignKey("orgs.id"), nullable=False)
