"""The network's operations, on behalf of an actor. What the server calls; every method raises domain errors only.

A capability is a class in a module of its own; what they have in common is `capability.Capability`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tidegrid.control.batch_scripts import BatchScripts
from tidegrid.control.billing import Billing
from tidegrid.control.context import Context
from tidegrid.control.data import Data
from tidegrid.control.installed import Installed
from tidegrid.control.jobs import Jobs
from tidegrid.control.operations import Operations
from tidegrid.control.picture import Picture
from tidegrid.control.porting_board import PortingBoard
from tidegrid.control.settlement import Settlement
from tidegrid.control.site_accounts import SiteAccounts
from tidegrid.control.sites import Sites
from tidegrid.control.staging import Staging
from tidegrid.control.steering import Steering
from tidegrid.control.tails import Tails
from tidegrid.store.engine import Store


class Platform(Jobs, Installed, Data, BatchScripts, Operations, Sites, SiteAccounts, Billing, Settlement, PortingBoard):
    """Everything below the server. The loops run beside it (`control.loops`)."""

    def __init__(self, ctx: Context, picture: Picture, staging: Staging) -> None:
        self.ctx, self.picture, self.staging = ctx, picture, staging
        self.store: Store = ctx.store
        self.ids: Any = ctx.ids
        self.home: Path = ctx.home
        self._apps = {}
        self._tails = Tails()
        self.on_network: Callable[[], Awaitable[None]] | None = None  # connects what a new network document names
        self.steering_of: Callable[[], Steering] | None = None  # the loops'
        self.try_account: Callable[[str, Mapping[str, Any]], Awaitable[int]] | None = None  # logs in; the uid there

    def now(self) -> int:
        return self.ctx.now()
