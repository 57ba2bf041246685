"""One ssh connection to a site, shared by its shells and its file transfers."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.slurm.shell import ENVIRONMENT, Lane, Output, Shells
from tidegrid.connectors.trouble import what_to_do

if TYPE_CHECKING:
    import asyncssh

# AES-GCM is the fastest by far where the processor has AES instructions.
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
)
BACKOFF_S = (0.5, 15.0)  # first and longest pause between two failed connections


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where and as whom. key: absolute path of the private key, or its text, which nothing shows; known_hosts: path, or lines of a known_hosts file.
    The host key must be known: there is no way to switch that off."""

    host: str
    user: str
    key: str = field(repr=False)
    known_hosts: str
    port: int = 22

    def __str__(self) -> str:
        return f"ssh://{self.user}@{self.host}:{self.port}"


class LoginFailed(SiteUnsure):
    """No connection, and why. code: stable; hint: what to do next."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.hint = code, hint or what_to_do(code)


class SshLink:
    """The connection, made when first needed and made again after a pause when it broke."""

    def __init__(self, target: SshTarget, *, timeout_s: float = 10.0, keepalive_s: float = 5.0) -> None:
        self.target = target
        self._timeout_s, self._keepalive_s = timeout_s, keepalive_s
        self._connection: asyncssh.SSHClientConnection | None = None
        self._lock = asyncio.Lock()
        self._pause, self._not_before, self._why = 0.0, 0.0, ""

    async def connection(self) -> asyncssh.SSHClientConnection:
        """SiteUnsure where there is none."""
        async with self._lock:
            if self._connection is not None and not self._connection.is_closed():
                return self._connection
            self._connection = None
            now = asyncio.get_running_loop().time
            if now() < self._not_before:
                raise SiteUnsure(f"{self.target}: {self._why}; next try in {self._not_before - now():.1f} s")
            try:
                self._connection = await self._connect()
            except BaseException as e:
                self._pause = min(max(self._pause * 2, BACKOFF_S[0]), BACKOFF_S[1])
                self._not_before, self._why = now() + self._pause, str(e) or type(e).__name__
                raise
            self._pause = self._not_before = 0.0
            return self._connection

    async def _connect(self) -> asyncssh.SSHClientConnection:
        import asyncssh

        t = self.target
        try:
            keys = [private_key(t.key)]
            # `known_hosts=None` would mean "trust anybody": an empty text trusts nobody
            known = asyncssh.import_known_hosts(t.known_hosts) if _is_lines(t.known_hosts) else t.known_hosts
            async with asyncio.timeout(self._timeout_s):
                return await asyncssh.connect(
                    t.host,
                    t.port,
                    username=t.user,
                    client_keys=keys,
                    known_hosts=known,
                    config=None,
                    agent_path=None,
                    preferred_auth=("publickey",),
                    encryption_algs=list(CIPHERS),
                    compression_algs=None,
                    keepalive_interval=self._keepalive_s,
                    keepalive_count_max=3,
                    login_timeout=self._timeout_s,
                )
        except TimeoutError:
            raise LoginFailed("cluster.no_connection", f"{t}: no connection within {self._timeout_s:g} s") from None
        except (asyncssh.Error, OSError, ValueError) as e:
            raise LoginFailed(reason(e), f"{t}: {e or type(e).__name__}") from None

    def drop(self) -> None:
        """Give up the connection: the next use makes a new one."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def close(self) -> None:
        self.drop()


class SshLane(Lane):
    async def run(self, command: str, stdin: str, limit: int) -> Output:
        import asyncssh

        try:
            return await super().run(command, stdin, limit)
        except asyncssh.Error as e:
            raise ConnectionResetError(e.reason or type(e).__name__) from None


class SshShell(Shells):
    """Clean shells over one connection. environment: added to what the commands see (SLURM_CONF); path: put before PATH."""

    def __init__(
        self, link: SshLink, *, environment: Mapping[str, str] | None = None, path: str = "", lanes: int = 4
    ) -> None:
        super().__init__(lanes=lanes)
        self.link, self.where = link, str(link.target)
        given = " ".join(f"{k}={shlex.quote(v)}" for k, v in {**ENVIRONMENT, **(environment or {})}.items())
        before = shlex.quote(path + ":") if path else ""
        kept = '${SLURM_CONF:+"SLURM_CONF=$SLURM_CONF"}'  # what the site's own sshd sets stays, unless given here
        clean = f'exec env -i HOME="$HOME" USER="$USER" LOGNAME="$LOGNAME" PATH={before}"$PATH" {kept} {given} /bin/sh'
        self._start = f"exec /bin/sh -c {shlex.quote(clean)}"  # the account's shell may be of any kind

    async def open(self) -> Lane:
        import asyncssh

        connection = await self.link.connection()
        try:
            process = await connection.create_process(self._start, encoding=None)
        except (asyncssh.Error, OSError) as e:
            self.link.drop()
            raise SiteUnsure(f"{self.where}: {e}") from None
        except asyncio.CancelledError:
            self.link.drop()  # a server that opens no channel in time is as good as gone
            raise
        return SshLane(process.stdin, process.stdout, process.stderr, process.channel.abort)

    async def close(self) -> None:
        await super().close()
        await self.link.close()


def private_key(key: str) -> Any:
    """The key behind a path or a text. LoginFailed (secret.unusable, secret.passphrase); the text itself is never shown."""
    import asyncssh

    try:
        text = key
        if key.startswith("/") and "\n" not in key:
            with open(key, encoding="ascii", errors="replace") as file:
                text = file.read()
        return asyncssh.import_private_key(text)
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError, ValueError) as e:
        if "passphrase" in str(e).lower():
            raise LoginFailed(
                "secret.passphrase", "the private key is protected by a passphrase, which a server cannot type",
                hint="make one without for the server alone: tide secret new NAME",
            ) from None  # fmt: skip
        raise LoginFailed(
            "secret.unusable", "the private key cannot be read: it is none in OpenSSH's or PEM's form",
            hint="give the private key itself, not the public one",
        ) from None  # fmt: skip
    except OSError as e:
        raise LoginFailed("secret.unusable", f"the private key's file cannot be read: {e.strerror}") from None


def reason(e: Exception) -> str:
    """The code for what keeps a connection from being made."""
    import socket

    import asyncssh

    if isinstance(e, LoginFailed):
        return e.code
    if isinstance(e, socket.gaierror):
        return "cluster.no_host"
    if isinstance(e, OSError):
        return "cluster.no_connection"
    if isinstance(e, asyncssh.HostKeyNotVerifiable):
        return "cluster.host_key"
    if isinstance(e, asyncssh.PermissionDenied):
        return "cluster.login"
    return "cluster.ssh"


def _is_lines(text: str) -> bool:
    return " " in text.strip()
