"""The persistent shell that Slurm's commands run in."""

from __future__ import annotations

import asyncio

import pytest

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.slurm import shell as shells
from tidegrid.connectors.slurm.shell import Lane, LocalShell


class SlowLogin(LocalShell):
    """Its profile takes longer than a command may."""

    opened = 0

    async def open(self) -> Lane:
        self.opened += 1
        lane = await super().open()
        lane._stdin.write(b"sleep 0.6\n")
        return lane


def test_a_slow_login_goes_on_for_the_next_caller() -> None:
    async def main() -> None:
        shell = SlowLogin()
        try:
            with pytest.raises(SiteUnsure, match="no answer within"):
                await shell.run("echo one", timeout=0.2)
            with pytest.raises(SiteUnsure, match="no answer within"):
                await shell.run("echo two", timeout=0.2)
            assert (await shell.run("echo three", timeout=10)).stdout == "three\n"
            assert shell.opened == 1
        finally:
            await shell.close()

    asyncio.run(main())


def test_a_login_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shells, "LOGIN_S", 0.3)

    async def main() -> None:
        shell = SlowLogin()
        try:
            for _ in range(3):
                with pytest.raises(SiteUnsure):
                    await shell.run("echo one", timeout=0.4)
            assert shell.opened == 3
        finally:
            await shell.close()

    asyncio.run(main())


def test_answers_are_told_apart_and_variables_do_not_leak() -> None:
    async def main() -> None:
        shell = LocalShell(lanes=1)
        try:
            answer = await shell.run("x=1; cat; echo err >&2; exit 3", "typed")
            assert (answer.rc, answer.stdout, answer.stderr) == (3, "typed\n", "err\n")
            assert (await shell.run("echo [$x]")).stdout == "[]\n"
            with pytest.raises(SiteUnsure):
                await shell.run("sleep 5", timeout=0.2)
            assert (await shell.run("echo again")).stdout == "again\n"
            with pytest.raises(SiteUnsure):
                await shell.run("yes", limit=1000)
        finally:
            await shell.close()

    asyncio.run(main())
