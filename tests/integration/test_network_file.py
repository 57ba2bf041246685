"""Applying the network document: idempotent, dry when asked, never pulling a cluster from under live attempts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from tests.parts.stores import Ticks, add_attempt, add_tenant, make_ids

from tidegrid.control import network_file
from tidegrid.control.context import Context, Settings
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound
from tidegrid.domain.ids import Ids
from tidegrid.store import clusters, networks
from tidegrid.store.engine import Store
from tidegrid.store.schema import attempts, events

TWO = """\
providers: {tide: {}}
sites:
  east: {provider: tide, region: cn-east, time_zone: Asia/Shanghai}
clusters:
  east:
    site: east
    connector: {kind: embedded}
    supply: {kind: co_built, marginal_core_hour: 0.02}
    prices: {core_hour: 0.10}
    partitions:
      cpu: {arch: x86_64, nodes: 1, cores: 4, memory: 8 GiB}
      big: {arch: x86_64, nodes: 1, cores: 4, memory: 64 GiB}
  spare:
    site: east
    connector: {kind: embedded}
    supply: {kind: purchased, core_hour: 0.05}
    prices: {core_hour: 0.10}
    partitions:
      cpu: {arch: x86_64, nodes: 1, cores: 4, memory: 8 GiB}
"""
NO_SPARE = TWO[: TWO.index("  spare:")]
NO_EAST = TWO[: TWO.index("  east:\n    site")] + TWO[TWO.index("  spare:") :]
NO_BIG = "".join(line for line in TWO.splitlines(keepends=True) if not line.strip().startswith("big:"))


@pytest.fixture
def ctx(store: Store, tmp_path: Path) -> Context:
    return Context(store, Ticks(), make_ids(), tmp_path, Settings())


def apply(ctx: Context, text: str, *, dry_run: bool = False) -> dict[str, Any]:
    return asyncio.run(network_file.apply(ctx, text, dry_run=dry_run))


def count(ctx: Context) -> tuple[int, int, int]:
    def read(conn: Any) -> tuple[int, int, int]:
        tables = (networks.networks, clusters.clusters, events)
        rows = [len(list(conn.execute(t.select()))) for t in tables]
        return rows[0], rows[1], rows[2]

    return ctx.store.read_sync(read)


def test_a_network_is_applied_once(ctx: Context) -> None:
    with pytest.raises(NotFound):
        asyncio.run(network_file.show(ctx))
    first = apply(ctx, TWO)
    assert first["changed"] and first["clusters"] == {"new": ["east", "spare"], "removed": []}
    assert count(ctx) == (1, 2, 1)
    again = apply(ctx, TWO.replace("cores: 4", "cores: 4 "))
    assert again == {**first, "changed": False, "changes": [], "clusters": {"new": [], "removed": []}}
    assert count(ctx) == (1, 2, 1)
    shown = asyncio.run(network_file.show(ctx))
    assert (shown["hash"], shown["source"]) == (first["hash"], TWO)


def test_a_dry_run_shows_the_difference_and_writes_nothing(ctx: Context) -> None:
    dry = apply(ctx, TWO, dry_run=True)
    assert dry["changed"] and dry["dry_run"]
    assert count(ctx) == (0, 0, 0)
    apply(ctx, TWO)
    dry = apply(ctx, NO_SPARE, dry_run=True)
    assert [c["text"] for c in dry["changes"]] == ["- clusters.spare"]
    assert count(ctx) == (1, 2, 1)
    assert dry["hash"] == apply(ctx, NO_SPARE)["hash"]


def test_going_back_makes_the_old_version_current_again(ctx: Context) -> None:
    first = apply(ctx, TWO)["hash"]
    second = apply(ctx, NO_SPARE)["hash"]
    assert apply(ctx, TWO)["hash"] == first != second
    row = ctx.store.read_sync(networks.current)
    assert row is not None and row["hash"] == first
    assert count(ctx)[0] == 2


def test_what_is_known_of_a_cluster_survives_a_change_of_the_file(ctx: Context) -> None:
    apply(ctx, TWO)
    ctx.store.write_sync(lambda c: clusters.update(c, "east", cursor="17", health="up"))
    apply(ctx, NO_BIG)
    assert ctx.store.read_sync(lambda c: clusters.get(c, "east"))["cursor"] == "17"


def test_a_malformed_file_changes_nothing(ctx: Context) -> None:
    apply(ctx, TWO)
    with pytest.raises(InvalidInput) as e:
        apply(ctx, TWO.replace("site: east", "site: nowhere", 1))
    assert e.value.code == "network.invalid" and e.value.exit_status == 2
    assert e.value.details["problems"][0]["line"] == 6
    assert count(ctx) == (1, 2, 1)


@pytest.mark.parametrize(("text", "partition"), [(NO_EAST, "cpu"), (NO_BIG, "big")])
def test_a_cluster_or_partition_with_live_attempts_stays(ctx: Context, ids: Ids, text: str, partition: str) -> None:
    apply(ctx, TWO)
    row = ctx.store.write_sync(lambda c: add_attempt(c, ids, add_tenant(c, ids), cluster="east", partition=partition))
    for dry_run in (True, False):
        with pytest.raises(Conflict) as e:
            apply(ctx, text, dry_run=dry_run)
        assert e.value.code == "network.in_use"
        assert list(e.value.details["live"].values()) == [1]
    apply(ctx, NO_SPARE)
    apply(ctx, TWO)
    ctx.store.write_sync(
        lambda c: c.execute(update(attempts).where(attempts.c.id == row["id"]).values(state="ENDED", reason="ok"))
    )
    assert apply(ctx, text)["changed"]
