"""The server's side of the race for a fence."""

from __future__ import annotations

from collections.abc import Iterable

from tidegrid.connectors.contract import Connector
from tidegrid.domain.attempt import FenceLost, FenceWon

_OURS = "server:"  # and the server's token: a holder that is no job


async def race(
    connector: Connector, directory: str, tasks: Iterable[int], token: int, why: str = "", *, refused: bool = False
) -> list[FenceWon | FenceLost]:
    """Claim the fences of tasks: each either can never start, or has started or is about to."""
    claims: list[FenceWon | FenceLost] = []
    for task in tasks:
        claim = await connector.files.claim(directory, task, 0, f"{_OURS}{token}")
        if claim.won or claim.holder.startswith(_OURS):
            claims.append(FenceWon(task, why, refused))
        else:
            native_id, _, nonce = claim.holder.partition(":")
            claims.append(FenceLost(task, native_id, nonce))
    return claims
