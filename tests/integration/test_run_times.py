"""Run times, learnt from jobs that really ran, in offers, wall times, explanations and accuracy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.parts.platform import running, shell

from tidegrid.control.intake import parse_body
from tidegrid.control.runtimes import Known
from tidegrid.store import runs


def test_what_ran_tells_how_long_the_next_will_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            p, ada = net.platform, net.acme
            body = shell("sleep 0.3", movable=False)
            while not (before := await p.offers(ada, body))["offers"]:
                await asyncio.sleep(0.1)
            assert before["prediction"]["source"] == "wall time" and before["offers"][0]["run_p50_s"] == 30
            first = [await p.submit(net.rival, body, None) for _ in range(6)]
            await net.wait(*(j["id"] for j in first))
            (said,) = await p.accuracy(net.rival, "script", 500)
            assert said["runs"] == 6 and said["wall_time_asked"]["n"] == said["predicted"]["n"]
            await p.ctx.write(lambda c: runs.put(c, [{**r, "run_ms": 100_000} for r in runs.newest(c, "script", 9)]))  # on a busy machine too
            p.picture.runtimes = Known(p.ctx)  # as after a restart: all is in the table
            after = await p.offers(ada, body)
            best = after["offers"][0]
            assert best["run_p50_s"] == 60 == best["run_p90_s"]  # never above the wall time
            told = after["prediction"]
            assert (told["source"], told["own_runs"], told["proposed_wall_s"]) == ("history", 0, 300)
            assert "runs" not in told and "none of yours" in told["text"]  # how many others ran is theirs to know
            long = await p.offers(ada, body | {"resources": {"cores": 1, "memory_mib": 64, "wall_s": 3600}})
            assert long["offers"][0]["run_p50_s"] == pytest.approx(100, rel=0.05)
            assert 100 < long["offers"][0]["run_p90_s"] < 400

            auto = body | {"resources": {"cores": 1, "memory_mib": 64, "wall_s": "auto"}}
            made = await p.submit(ada, auto, None)
            assert made["resources"]["wall_s"] == 300  # the document says ten minutes
            (ended,) = await net.wait(made["id"], actor=ada)
            assert ended["state"] == "succeeded"
            why = await p.explain(ada, made["id"])
            assert any("run time from earlier runs of script (none of yours)" in t for t in why["decisions"][0]["text"])
            assert why["decisions"][0]["prediction"]["source"] == "history"
            assert "runs" not in why["decisions"][0]["prediction"]
            assert (await p.explain(net.operator, made["id"]))["decisions"][0]["prediction"]["runs"] == 6

            (own,) = await p.accuracy(ada, None, 500)
            assert (own["app"], own["runs"], own["first"], own["predicted"]["n"]) == ("script", 1, 0, 1)
            (theirs,) = await p.accuracy(net.rival, "script", 500)
            assert theirs["runs"] == 6
            (all_,) = await p.accuracy(net.operator, "script", 500)
            assert all_["runs"] == 7

            application = await p.application("script", (await p.app("script"))["version"])
            spec = parse_body(body, application).spec
            live, fresh = p.picture.runtimes, Known(p.ctx)
            snapshot = await p.picture.snapshot()
            await asyncio.sleep(1.1)  # the live one looks again
            a, b = [(await k.predict([(spec, ada.org_id)], snapshot))[0] for k in (live, fresh)]
            assert a.p50.tolist() == b.p50.tolist() and a.p90.tolist() == b.p90.tolist() and (a.n, a.own) == (b.n, b.own) == (7, 1)

    asyncio.run(main())


def test_what_failed_or_was_never_known_is_not_learnt(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            p, ada = net.platform, net.acme
            bad = await p.submit(ada, shell("exit 3", movable=False), None)
            await net.wait(bad["id"])
            assert await p.accuracy(ada, None, 500) == []
            array = await p.submit(ada, shell("true", array="0-19", movable=False), None)
            await net.wait(array["id"])
            (found,) = await p.accuracy(ada, None, 500)
            assert found["runs"] == 16  # of an array's many tasks only some

    asyncio.run(main())
