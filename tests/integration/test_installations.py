"""Installations on a running network: states by hand and by test, measured speeds, licences, cards; told over the API."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.parts.platform import NETWORK, Running, running, shell

from tidegrid.catalog.document import parse
from tidegrid.control import catalogue
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound

APP = """
id: {id}
title: {{en: A made-up solver}}
params: {{type: object, properties: {{n: {{type: integer, default: 7}}}}, additionalProperties: false}}
resources: {{cores: 1, memory: 64 MiB, wall: 60}}
software: {{command: solver}}
{more}
script: |
  {{{{ command }}}} {{{{ n }}}} > result.json
outputs: [result.json]
tests:
  - {{name: seven, expect: [{{file: result.json, path: $.n, equals: 7}}]}}
"""


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


def solver(where: Path, name: str, text: str) -> Path:
    path = where / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def network(good: Path | None, bad: Path | None, more: str = "") -> str:
    text = NETWORK
    if good is not None:
        text = text.replace("    site: hohhot\n    connector", f"    site: hohhot\n    software: {{solver: {good}}}\n    connector", 1)
    if bad is not None:
        text = text.replace("    site: shanghai\n    connector", f"    site: shanghai\n    software: {{solver: {bad}}}\n    connector", 1)
    return text + more


async def add(net: Running, id: str = "solve", more: str = "") -> None:
    await net.platform.app_publish(net.operator, APP.format(id=id, more=more), {}, False)


async def judged(net: Running, begun: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ids = {t["id"] for t in begun}
    async with asyncio.timeout(60):
        while True:
            items, _ = await net.platform.trials(net.operator)
            done = [t for t in items if t["id"] in ids]
            if all(t["state"] != "running" for t in done):
                return sorted(done, key=lambda t: str(t["id"]))
            await asyncio.sleep(0.1)


async def states(net: Running, app: str = "solve") -> dict[str, str]:
    return {i["partition"]: str(i["state"]) for i in await net.platform.installations(net.operator, app=app)}


@in_a_loop
async def test_acceptance_tests_say_what_is_verified_and_what_failed(tmp_path: Path) -> None:
    good = solver(tmp_path, "good", 'echo "{\\"n\\": $1}"; sleep 0.3')
    bad = solver(tmp_path, "bad", 'echo "{\\"n\\": 8}"; sleep 0.1')
    async with running(tmp_path / "home", network=network(good, bad)) as net:
        await add(net)
        assert await states(net) == {"north/cpu": "installed", "east/cpu": "installed"}
        with pytest.raises(Conflict, match="what is tuned is verified first"):
            await net.platform.installation_set(net.operator, "solve", "north/cpu", "tuned")
        trials = await judged(net, await net.platform.verify(net.operator, "solve", runs=2))
        by_place = {p: [t["state"] for t in trials if t["partition"] == p] for p in ("north/cpu", "east/cpu")}
        assert by_place == {"north/cpu": ["passed"] * 2, "east/cpu": ["failed"] * 2}
        assert await states(net) == {"north/cpu": "verified", "east/cpu": "failed"}
        failed = next(i for i in await net.platform.installations(net.operator, app="solve") if i["state"] == "failed")
        assert "result.json $.n: is 8, expected 7" in failed["reason"]
        one = next(i for i in await net.platform.installations(net.operator, app="solve", state="verified"))
        assert one["speed"]["n"] == 2 and 0.25 < one["speed"]["seconds"] < 20 and one["speed"]["relative"] is None
        assert one["way"]["words"] == [str(good)]

        # a place that failed gets no more jobs, and says why
        body = {"app": "solve", "constraints": {"any_of": ["east/cpu"]}}
        offered = await net.platform.offers(net.acme, body)
        assert offered["offers"] == [] and offered["refusals"]["not_verified"] == 1
        assert (await net.platform.offers(net.acme, {"app": "solve"}))["offers"][0]["standing"] == "verified"

        # mended: the way it is invoked is another one now, so the verdict on the old one counts no more
        text = network(good, good)
        await net.platform.network_apply(net.operator, text, False)
        assert (await states(net))["east/cpu"] == "installed"
        await judged(net, await net.platform.verify(net.operator, "solve", partitions=["east"]))
        assert await states(net) == {"north/cpu": "verified", "east/cpu": "verified"}
        speeds = [i["speed"]["relative"] for i in await net.platform.installations(net.operator, app="solve")]
        assert speeds[0] * speeds[1] == pytest.approx(1.0)

        await net.platform.installation_set(net.operator, "solve", "east/cpu", "tuned", "with -march=native")
        await net.platform.installation_set(net.operator, "solve", "east/cpu", "withdrawn", "for a while")
        history, _ = await net.platform.installation_history(net.acme, "solve", "east/cpu")
        assert [h["state"] for h in history] == ["withdrawn", "tuned", "verified", "failed"]
        assert history[0]["reason"] == "for a while" and history[0]["by"] is None  # who said it is the operator's to see
        refused = (await net.platform.offers(net.acme, body))["refusals"]
        assert refused["not_installed"] == 1


@in_a_loop
async def test_where_verification_is_required_nothing_else_takes_jobs_and_another_version_begins_anew(tmp_path: Path) -> None:
    good = solver(tmp_path, "good", 'echo "{\\"n\\": $1}"')
    text = network(good, None, "placement: {verified: require}\n")
    async with running(tmp_path / "home", network=text) as net:
        await add(net)
        offered = await net.platform.offers(net.acme, {"app": "solve"})
        assert offered["offers"] == [] and {"not_verified": 1, "not_installed": 1}.items() <= offered["refusals"].items()
        plain = await net.platform.submit(net.acme, shell("true"), None)  # what needs no software is not asked for tests
        assert (await net.wait(plain["id"]))[0]["state"] == "succeeded"
        await judged(net, await net.platform.verify(net.operator, "solve"))
        job = await net.platform.submit(net.acme, {"app": "solve"}, None)
        assert (await net.wait(job["id"]))[0]["state"] == "succeeded"
        old = job["app_version"]
        await add(net, more="summary: {en: a newer one}")
        assert (await net.platform.offers(net.acme, {"app": "solve"}))["offers"] == []
        assert (await net.platform.offers(net.acme, {"app": f"solve@{old}"}))["offers"][0]["partition"] == "north/cpu"
        assert await states(net, f"solve@{old}") == {"north/cpu": "verified"}


@in_a_loop
async def test_what_is_not_there_can_only_be_wanted_and_a_trial_that_never_ran_says_nothing(tmp_path: Path) -> None:
    good = solver(tmp_path, "good", 'echo "{\\"n\\": $1}"; sleep 20')
    async with running(tmp_path / "home", network=network(good, None)) as net:
        await add(net)
        with pytest.raises(Conflict, match="east/cpu lists no software for solve"):
            await net.platform.installation_set(net.operator, "solve", "east/cpu", "installed")
        with pytest.raises(Conflict, match="what acceptance tests say"):
            await net.platform.installation_set(net.operator, "solve", "north/cpu", "verified")
        with pytest.raises(Conflict, match="installed at none of east/cpu"):
            await net.platform.verify(net.operator, "solve", partitions=["east"])
        with pytest.raises(NotFound, match="no partition 'west/cpu'"):
            await net.platform.installation_set(net.operator, "solve", "west/cpu", "wanted")
        await net.platform.installation_set(net.operator, "solve", "east/cpu", "wanted", "acme asks for it")
        assert await states(net) == {"north/cpu": "installed", "east/cpu": "wanted"}
        begun = await net.platform.verify(net.operator, "solve")
        await net.platform.cancel(net.operator, begun[0]["job"])
        (trial,) = await judged(net, begun)
        assert trial["state"] == "void" and "cancelled" in trial["failed"][0]
        assert (await states(net))["north/cpu"] == "installed"


LICENCES = "licences:\n  mech: {count: 2}\n"


@in_a_loop
async def test_licences_are_held_to_the_end_of_a_job_and_the_next_one_waits_for_them(tmp_path: Path) -> None:
    tool = solver(tmp_path, "tool", f'while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo "{{\\"n\\": $1}}"')
    async with running(tmp_path / "home", network=network(tool, tool, LICENCES)) as net:
        await add(net, more="licences: {mech: 2}")
        first = await net.platform.submit(net.acme, {"app": "solve"}, None)
        second = await net.platform.submit(net.rival, {"app": "solve"}, None)
        async with asyncio.timeout(30):
            while "licence" not in ((await net.platform.job(net.rival, second["id"]))["reason"] or ""):
                await asyncio.sleep(0.1)
        waiting = await net.platform.job(net.rival, second["id"])
        assert waiting["state"] == "pending" and waiting["reason"].endswith("2 have no licence free for it now")
        explained = await net.platform.explain(net.acme, first["id"])
        assert explained["decisions"][0]["licences"] == {"mech": 2}
        (pool,) = await net.platform.licences(net.operator)
        assert (pool["used"], pool["free"], pool["holders"]) == (2, 0, [{"org": "acme", "count": 2}])
        assert (await net.platform.licences(net.rival))[0]["holders"] is None
        (tmp_path / "go").touch()
        ended = await net.wait(first["id"], second["id"])
        assert [j["state"] for j in ended] == ["succeeded", "succeeded"]
        assert ended[1]["started_at"] >= ended[0]["ended_at"]
        assert (await net.platform.licences(net.operator))[0]["free"] == 2
        with pytest.raises(Exception, match="have not so many licences"):
            await net.platform.submit(net.acme, {"app": "solve", "array": "0-1"}, None)
        array = await net.platform.submit(net.acme, {"app": "solve", "array": "0-1%1"}, None)  # one at a time is enough
        assert (await net.wait(array["id"]))[0]["state"] == "succeeded"


CARD_APP = """
id: machine-card
title: {en: A quick card}
params: {type: object, properties: {}, additionalProperties: false}
script: |
  echo '{"schema": 1, "host": {"cores": '"$TIDE_CORES"'}, "cpu_s": 0.1, "values": {
    "peak_dp_core": {"value": 58.2, "unit": "GF/s", "tier": "measured", "error": 0.5, "n": 5},
    "gpu_count": {"value": null, "unit": "", "tier": "unavailable", "note": "none"}}}' > card.json
outputs: [card.json]
"""


@in_a_loop
async def test_a_partition_is_measured_by_a_job_and_its_cards_are_kept(tmp_path: Path) -> None:
    async with running(tmp_path / "home") as net:
        await catalogue.install(net.platform.ctx, [parse(CARD_APP)])  # in the place of the probe, which takes its time
        begun = [await net.platform.machine_card_measure(net.operator, "north/cpu") for _ in range(2)]
        assert [t["state"] for t in await judged(net, begun)] == ["passed", "passed"]
        (card,) = await net.platform.machine_cards(net.acme)
        assert card["partition"] == "north/cpu" and card["job"] is None and card["by"] is None
        assert card["card"]["host"]["cores"] == 4  # all of a node's
        items, following = await net.platform.machine_card(net.operator, "north/cpu", limit=1)
        older, _ = await net.platform.machine_card(net.operator, "north/cpu", limit=1, after=following)
        assert {items[0]["job"], older[0]["job"]} == {t["job"] for t in begun}
        snapshot = await net.platform.picture.snapshot()
        assert snapshot is not None
        row = snapshot.software.card[snapshot.partitions.index("north/cpu")]
        assert row[0] == 58.2 and all(x != x for x in row[1:])
        with pytest.raises(NotFound, match="no partition"):
            await net.platform.machine_card_measure(net.operator, "north/gpu")

        await catalogue.install(net.platform.ctx, [parse(CARD_APP.replace('"value": 58.2', '"value": null'))])
        (failed,) = await judged(net, [await net.platform.machine_card_measure(net.operator, "north/cpu")])
        assert failed["state"] == "failed" and "null exactly where its tier is unavailable" in failed["failed"][0]
        assert len((await net.platform.machine_card(net.operator, "north/cpu", limit=9))[0]) == 2


ARM = """
  west:
    site: shanghai
    connector: {kind: embedded, kill_grace_s: 1}
    supply: {kind: co_built, marginal_core_hour: 0.005}
    prices: {core_hour: 0.02}
    partitions:
      arm: {arch: aarch64, nodes: 1, cores: 2, memory: 2 GiB}
accounts:
"""


@in_a_loop
async def test_the_porting_board_ranks_what_customers_used_and_were_refused(tmp_path: Path) -> None:
    tool = solver(tmp_path, "tool", 'echo "{\\"n\\": $1}"; sleep 0.5')
    text = network(tool, tool).replace("\naccounts:\n", ARM, 1)
    async with running(tmp_path / "home", network=text) as net:
        await add(net)
        await add(net, id="unasked")
        assert await net.platform.porting(net.operator) == []
        job = await net.platform.submit(net.acme, {"app": "solve", "resources": {"cores": 2}}, None)
        await net.wait(job["id"])
        with pytest.raises(InvalidInput, match="do not have the application"):
            await net.platform.submit(net.rival, {"app": "solve", "constraints": {"arch": ["aarch64"]}}, None)
        with pytest.raises(InvalidInput, match="have another architecture"):
            await net.platform.submit(net.rival, {"app": "solve", "constraints": {"arch": ["riscv64"]}}, None)
        with pytest.raises(InvalidInput):  # too large for any machine: no demand for porting
            await net.platform.submit(net.rival, {"app": "solve", "resources": {"cores": 64}}, None)

        async def use() -> dict[str, dict[str, Any]]:
            return {i["arch"]: i for i in await net.platform.porting(net.operator)}

        async with asyncio.timeout(20):
            while not (await use())["aarch64"]["used_core_hours"]:
                await asyncio.sleep(0.2)
        found = await use()
        arm, riscv = found["aarch64"], found["riscv64"]
        assert (arm["state"], arm["place"], arm["rank"], arm["speed_tier"]) == ("candidate", "west/arm", 1, "estimated")
        assert arm["refused_jobs"] == 1 and arm["refused_core_hours"] == pytest.approx(60 / 3600, abs=1e-6)
        assert {c["org"] for c in arm["customers"]} == {"acme", "rival"} and arm["gain"] > 0 and arm["score"] > 0
        assert riscv["score"] is None and riscv["refused_jobs"] == 1 and riscv["rank"] == 2
        assert not any(i["app"] == "unasked" for i in found.values())

        item = await net.platform.porting_add(net.operator, "solve", "aarch64", 3, "acme would pay")
        with pytest.raises(Conflict, match="on the board already"):
            await net.platform.porting_add(net.operator, "solve", "aarch64", 3)
        assert (await use())["aarch64"]["effort_days"] == 3
        for stage in ("porting", "testing"):
            await net.platform.porting_move(net.operator, item["id"], state=stage)
        with pytest.raises(Conflict, match="serves nobody yet"):
            await net.platform.porting_move(net.operator, item["id"], state="serving")
        listed = text.replace("  west:\n    site: shanghai\n", f"  west:\n    site: shanghai\n    software: {{solver: {tool}}}\n")
        await net.platform.network_apply(net.operator, listed, False)
        served = await net.platform.porting_move(net.operator, item["id"], state="serving", note="done")
        assert [h["state"] for h in served["history"]] == ["planned", "porting", "testing", "serving"]
        assert (await use())["aarch64"]["rank"] is None
