"""Whose rows a function may see. Every function on tenant rows takes one, so that no caller can forget it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, FromClause, true


@dataclass(frozen=True, slots=True)
class Scope:
    """org_id: the organisation whose rows exist for the caller; None: the operator, for whom all do."""

    org_id: int | None = None

    def filter(self, table: FromClause) -> ColumnElement[bool]:
        """The condition on `table`'s org_id; for the operator one that always holds."""
        if self.org_id is None:
            return true()
        return table.c.org_id == self.org_id

    def sees(self, org_id: int | None) -> bool:
        """Whether a row of `org_id` (None: the operator's own) exists for the caller."""
        return self.org_id is None or self.org_id == org_id


OPERATOR = Scope(None)
