"""What every view is made of. Times are ISO 8601 in UTC, money is a decimal text with its currency."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2025-01-31T23:59:59.000001Z"])]


class View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Open(BaseModel):
    """A view to which the platform may add terms."""

    model_config = ConfigDict(extra="allow")


class Money(View):
    amount: str = "0.00"
    currency: str = "CNY"
