"""Parameters many routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path, Query

from tidegrid.server.fields import BIGINT, Cursor, IncidentId, JobId, Key, Name, UploadId

MAX_PAGE = 500

Job = Annotated[JobId, Path(description="a job's id")]
Upload = Annotated[UploadId, Path(description="an upload's id")]
Incident = Annotated[IncidentId, Path(description="an incident's id")]
OrgName = Annotated[Name, Path(description="an organisation's name")]
ClusterName = Annotated[Name, Path(description="a cluster's name")]
OfOrg = Annotated[Name | None, Query(description="an organisation's name; by default one's own")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="items a page")]
After = Annotated[Cursor | None, Query(description="what the page before gave as `next`")]
Offset = Annotated[int, Query(ge=0, le=BIGINT, description="bytes")]
IdempotencyKey = Annotated[
    Key | None,
    Header(
        alias="Idempotency-Key",
        description="Chosen by the client. The same key with the same body gives the first answer again and does "
        "nothing twice; with another body it is a conflict.",
    ),
]
