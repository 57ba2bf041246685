"""How much an organisation and its projects may keep."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from tidegrid.domain.errors import NoSpace
from tidegrid.store import blobs, uploads
from tidegrid.store.scope import Scope


@dataclass(frozen=True, slots=True)
class Limit:
    """What may be kept, of whom, and what is: bytes and files, those promised to uploads under way included; None: no limit."""

    whose: str
    bytes: int | None
    files: int | None
    used_bytes: int
    used_files: int

    def check(self, size: int, files: int = 1) -> None:
        """NoSpace (staging.quota) with the figures where so much more is too much."""
        for what, limit, used, more in (
            ("bytes", self.bytes, self.used_bytes, size), ("files", self.files, self.used_files, files),
        ):  # fmt: skip
            if limit is not None and used + more > limit:
                raise NoSpace(
                    "staging.quota",
                    f"{self.whose} may keep {limit:,} {what}; {used:,} are in use, and this needs {more:,} more",
                    hint="remove data with `tide data rm`, or ask the operator for more; see `tide quota`",
                    details={"of": self.whose, "what": what, "limit": limit, "used": used, "needed": more},
                )


def limits(conn: Connection, org_id: int, project_id: int = 0, *, promised: bool = True) -> list[Limit]:
    """The organisation's quota, and the project's, where there is one."""
    scope, out = Scope(org_id), []
    for project in dict.fromkeys((0, project_id)):
        row = uploads.quota(conn, org_id, project)
        if row is None:
            continue
        of = project or None
        size, files = blobs.taken(conn, scope, of)
        if promised:
            more = uploads.promised(conn, scope, of)
            size, files = size + more[0], files + more[1]
        out.append(Limit("the project" if project else "the organisation", row["bytes"], row["files"], size, files))
    return out
