"""Calls that come while one is under way, made as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Given = TypeVar("Given")


class Together(Generic[Asked, Given]):
    """many: answers what is asked of it, in order, `most` at a time; an exception in an answer's place is raised to who asked for
    that, one that it raises itself to all of them. It runs as the first of them would (its context variables)."""

    def __init__(self, many: Callable[[Sequence[Asked]], Awaitable[Sequence[Given | BaseException]]], *, most: int) -> None:
        self._many, self._most = many, most
        self._waiting: list[tuple[Asked, asyncio.Future[Given]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, asked: Asked) -> Given:
        future: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            group = [(asked, future) for asked, future in group if not future.done()]  # who gave up asks for nothing
            if not group:
                continue
            answers: Sequence[Given | BaseException]
            try:
                answers = await self._many([asked for asked, _ in group])
            except asyncio.CancelledError:
                for _, future in group + self._waiting:
                    future.cancel()
                self._waiting.clear()
                raise
            except Exception as e:  # noqa: BLE001 - handed to whoever asked
                answers = [e] * len(group)
            for (_, future), answer in zip(group, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, BaseException):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
