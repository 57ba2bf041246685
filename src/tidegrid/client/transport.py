"""One request at a time over httpx: retries that do nothing twice, and problems turned back into domain errors."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from tidegrid.domain import errors

PREFIX = "/api/v1"
TRIES = 4
_BY_STATUS: dict[int, type[errors.TideError]] = {
    401: errors.Unauthenticated,
    402: errors.InsufficientFunds,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    422: errors.InvalidInput,
    500: errors.Broken,
    503: errors.Unreachable,
    507: errors.NoSpace,
}
_HINT = "is `tide up` running, and is the address right?"


class Transport:
    """retry: a request may be sent again after the connection was lost only if it is a read, idempotent by nature, or
    carries an idempotency key."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout: float = 60.0,
        http: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = http or httpx.Client(timeout=httpx.Timeout(timeout, connect=5.0), trust_env=False)
        self._owned = http is None
        self._headers = headers
        self._sleep = sleep

    def close(self) -> None:
        if self._owned:
            self._http.close()

    def json(self, method: str, path: str, *, retry: bool = True, **kw: Any) -> Any:
        """The decoded answer; a domain error for everything that is no success."""
        answer = self.request(method, path, retry=retry, **kw)
        if answer.status_code == 204 or not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise errors.Unreachable("server.strange", f"{self.url} answered with something that is no JSON",
                                     hint="is this the address of a Tidegrid server?") from None  # fmt: skip

    def request(
        self, method: str, path: str, *, retry: bool = True, headers: Mapping[str, str] | None = None, **kw: Any
    ) -> httpx.Response:
        kw.setdefault("params", None)
        if kw["params"] is not None:
            kw["params"] = {k: v for k, v in kw["params"].items() if v is not None}
        for attempt in range(TRIES):
            last = attempt == TRIES - 1 or not retry
            try:
                answer = self._http.request(
                    method, self.url + PREFIX + path, headers={**self._headers, **(headers or {})}, **kw
                )
            except httpx.InvalidURL:
                raise self._bad_url() from None
            except httpx.UnsupportedProtocol:
                raise self._bad_url() from None
            except httpx.ConnectError as error:  # nothing was sent: trying again is always safe, but quickly told
                if attempt >= 1:
                    raise self._unreachable(error) from None
            except httpx.TransportError as error:
                if last:
                    raise self._unreachable(error) from None
            else:
                if answer.status_code == 503 and not last and _code(answer) != "server.stopping":
                    pass
                elif answer.status_code >= 400:
                    raise problem(answer)
                else:
                    return answer
            self._sleep(min(2.0, 0.1 * 2**attempt) * (0.5 + random.random() / 2))
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def stream(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **kw: Any
    ) -> Iterator[httpx.Response]:
        """An answer read bit by bit; a lost connection inside is Unreachable."""
        try:
            with self._http.stream(
                method, self.url + PREFIX + path, headers={**self._headers, **(headers or {})}, **kw
            ) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise problem(answer)
                yield answer
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _bad_url(self) -> errors.TideError:
        return errors.InvalidInput("url.malformed", f"{self.url!r} is no address of a server",
                                   hint="write http://host:port")  # fmt: skip

    def _unreachable(self, error: Exception) -> errors.TideError:
        what = str(error) or type(error).__name__
        return errors.Unreachable("server.unreachable", f"{self.url} does not answer: {what}", hint=_HINT)


def _code(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return ""
    return str(body.get("code", "")) if isinstance(body, dict) else ""


def problem(answer: httpx.Response) -> errors.TideError:
    """The domain error behind an answer, with the server's code, hint and details."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "code" not in body:
        return _kind(answer.status_code)(f"http.{answer.status_code}", f"the server answered {answer.status_code}")
    return told({"status": answer.status_code, **body})


def _kind(status: int) -> type[errors.TideError]:
    return _BY_STATUS.get(status, errors.InvalidInput if status < 500 else errors.Broken)


def told(body: Mapping[str, Any]) -> errors.TideError:
    """The domain error of a problem's JSON."""
    details = dict(body.get("details") or {})
    if body.get("errors"):
        details["errors"] = body["errors"]
    return _kind(int(body.get("status", 500)))(str(body["code"]), str(body.get("detail", "")), hint=str(body.get("hint", "")), details=details)
