"""Looks at clusters for the platform: what one is, before it is in the network, and whether one can do what it must."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegrid.catalog import proposal
from tidegrid.catalog.network_model import Cluster
from tidegrid.catalog.proposal import Offered
from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.findings import Say
from tidegrid.connectors.slurm import hostkeys
from tidegrid.connectors.slurm.check import Check
from tidegrid.connectors.slurm.connector import SlurmConnector
from tidegrid.connectors.slurm.hostkeys import HostKey
from tidegrid.connectors.slurm.shell import Shell
from tidegrid.connectors.slurm.survey import PartitionFacts, Survey, survey
from tidegrid.connectors.trouble import what_to_do
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, TideError
from tidegrid.launch import connect, secrets

_URL = re.compile(r"^ssh://([a-z_][a-z0-9_.-]{0,31})@(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9.-]{0,253})(?::(\d{1,5}))?/?\Z")
ROOT_NAME = "tidegrid"


class Office:
    """home: of the server, for its secrets."""

    def __init__(self, home: Path) -> None:
        self.home = home

    async def discover(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """wanted: url (empty: this machine), name, identity, host_keys, accept_host_key, root, slurm_conf, path, account, qos.

        Conflict (cluster.host_key_unknown, with details.host_keys) where the keys shown are neither named nor accepted, and
        (cluster.…) where the cluster cannot be looked at; NotFound (cluster.no_slurm, secret.missing), InvalidInput.
        """
        settings, keys = await self._way(wanted)
        shell = self._shell(settings)
        try:
            found = await survey(shell)
        except SiteUnsure as e:
            raise _told(e) from None
        finally:
            await shell.close()
        return _view(found, settings, keys, wanted)

    async def check(self, cluster: Cluster, *, wait_s: float, skew_s: float, say: Say | None = None) -> dict[str, Any]:
        """Conflict (check.kind) for a cluster that is not Slurm's; a missing secret is a finding like any other."""
        if cluster.connector != "slurm":
            raise Conflict("check.kind", f"{cluster.name} is {cluster.connector}: its supervisor needs no check",
                           hint="`tide cluster list` shows whether it is up")  # fmt: skip
        from tidegrid.connectors.findings import Findings

        try:
            connector = connect.slurm(self.home, cluster)
        except TideError as e:
            found = Findings(say)
            found.missing("login", e.code, e.message, hint=e.hint)
        else:
            assert isinstance(connector, SlurmConnector)
            try:
                found = await Check(cluster, connector, say=say, wait_s=wait_s, skew_s=skew_s).run()
            finally:
                await connector.close()
        return {"cluster": cluster.name, "ok": found.well, "findings": [f.view() for f in found.all]}

    async def _way(self, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[HostKey, ...]]:
        """The connector's settings as far as they are known, and the host keys that are trusted from now on."""
        given = {k: str(wanted[k]) for k in ("slurm_conf", "path", "account", "qos") if wanted.get(k)}
        url = str(wanted.get("url") or "")
        if not url:
            return given, ()
        match = _URL.match(url)
        if match is None or not 0 < int(match[3] or 22) < 65536:
            raise InvalidInput("cluster.url", f"{url!r} is no address of a login node", hint="write ssh://user@host or ssh://user@host:port")
        user, host, port = match[1], match[2].strip("[]"), int(match[3] or 22)
        identity = str(wanted.get("identity") or "") or self._only_key()
        connect.secret(self.home, identity)  # what is missing here is told before anybody is asked
        try:
            named = list(wanted.get("host_keys") or ())
            shown = await hostkeys.shown(host, port, named)
            trusted = hostkeys.chosen(shown, named)
        except SiteUnsure as e:
            raise _told(e) from None
        except ValueError as e:
            raise InvalidInput("cluster.host_key_form", str(e), hint="give a key, or its fingerprint: SHA256:…") from None
        if not trusted and wanted.get("accept_host_key") and not wanted.get("host_keys"):
            trusted = shown
        if not trusted:
            listed = [{"key": k.line, "fingerprint": k.fingerprint} for k in shown]
            prints = ", ".join(f"{k.line.split()[0]} {k.fingerprint}" for k in shown)
            other = "none of the keys given: " if wanted.get("host_keys") else ""
            raise Conflict("cluster.host_key_unknown", f"{host}:{port} shows {other}{prints}",
                           hint="compare with what the centre publishes, then --host-key FINGERPRINT, or --accept-host-key",
                           details={"host_keys": listed})  # fmt: skip
        ssh = {"host": host, "port": port, "user": user, "identity": identity, "host_keys": [k.line for k in trusted]}
        return {**ssh, **given}, trusted

    def _only_key(self) -> str:
        names = [s.name for s in secrets.listed(self.home) if s.kind == "ssh key"]
        if len(names) == 1:
            return names[0]
        raise InvalidInput("secret.unnamed", f"which key? there are {', '.join(names) or 'none'}",
                           hint="name it: --identity NAME; `tide secret put NAME FILE` keeps one")  # fmt: skip

    def _shell(self, settings: Mapping[str, Any]) -> Shell:
        from tidegrid.catalog.network_model import Cluster as Described

        described = Described("new", "", "slurm", {**settings, "root": "/"}, ())
        connector = connect.slurm(self.home, described)
        assert isinstance(connector, SlurmConnector)
        return connector.shell


def _told(e: SiteUnsure) -> TideError:
    """Refused, not unreachable: it is the cluster that is in the way, and this server answers."""
    code, hint = getattr(e, "code", ""), getattr(e, "hint", "")
    if code == "cluster.no_slurm":
        return NotFound("cluster.no_slurm", e.message, hint=hint)
    return Conflict(code or "cluster.strange", e.message, hint=hint or what_to_do("cluster.silent"))


def _view(found: Survey, settings: dict[str, Any], keys: Sequence[HostKey], wanted: Mapping[str, Any]) -> dict[str, Any]:
    name = str(wanted.get("name") or "") or proposal.a_name(found.name or settings.get("host", ""))
    account = settings.get("account") or found.default_account
    root = str(wanted.get("root") or "") or _root(found)
    connector: dict[str, Any] = {"kind": "slurm", **settings, "root": root or proposal.FILL_IN}
    remarks: dict[str, str] = {}
    if account:
        connector["account"] = account
        if others := [a for a in found.accounts if a != account]:
            remarks["account"] = "also: " + ", ".join(others)
    if settings.get("qos") or found.usable_qos:
        connector["qos"] = settings.get("qos") or _default_qos(found, account)
        if others := [q for q in found.usable_qos if q != connector["qos"]]:
            remarks["qos"] = "also: " + ", ".join(others)
        if not connector["qos"]:
            del connector["qos"]
    if not wanted.get("root"):
        best = next((p for p in found.places if root.startswith(p.path)), None)
        if best is not None:
            shared = "seen by nodes? the check tells" if not best.networked else "shared, it seems"
            remarks["root"] = f"{best.kind}, {best.free / (1 << 30):.0f} GiB free; {shared}"
    offered = [_offered(p, found) for p in found.partitions if not p.row.hidden or not p.barred]
    where = wanted.get("url") or "this machine"
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    header = [f"Found at {where} on {day}: Slurm {found.version}, cluster {found.name}.",
              "Replace every FILL IN; `tide network apply` says which are left.",
              *(f"Note: {n}" for n in _notes(found))]  # fmt: skip
    made = proposal.propose(name, connector, offered, header=header, time_zone=found.me.time_zone, remarks=remarks)
    return {
        "name": name, "cluster": found.name, "version": found.version, "user": found.me.user, "accounting": found.accounting,
        "host_keys": [{"key": k.line, "fingerprint": k.fingerprint} for k in keys],
        "accounts": list(found.accounts), "default_account": found.default_account,
        "qos": [{"name": q.name, "priority": q.priority, "max_wall_s": q.max_wall_s, "max_submit": q.max_submit,
                 "usable": q.name in found.usable_qos} for q in found.qos],
        "limits": {"max_array_size": found.limits.get("MaxArraySize"), "max_job_count": found.limits.get("MaxJobCount"),
                   "max_submit": min((a.max_submit for a in found.associations if a.max_submit is not None), default=None)},
        "enforced": found.enforced, "partitions": [_partition(p) for p in found.partitions],
        "roots": [{"path": f"{p.path}/{ROOT_NAME}", "filesystem": p.kind, "free_bytes": p.free, "networked": p.networked}
                  for p in found.places],
        "notes": _notes(found), "yaml": made.document(), "sections": dict(made.blocks),
    }  # fmt: skip


def _notes(found: Survey) -> list[str]:
    notes = list(found.notes)
    if not found.accounting:
        notes.append("no slurmdbd: usage is taken from the controller's times, and marked estimated")
    if found.limits.get("MaxArraySize", 1001) < 1001:
        notes.append(f"MaxArraySize is {found.limits['MaxArraySize']}: arrays of up to 1,000 tasks need 1001")
    if found.enforced.get("memory") == "none":
        notes.append("jobs are not held to their memory")
    return notes


def _root(found: Survey) -> str:
    """The best candidate that the network file can hold."""
    return next((f"{p.path}/{ROOT_NAME}" for p in found.places if len(p.path) <= 60), "")


def _default_qos(found: Survey, account: str) -> str:
    mine = [a.default_qos for a in found.associations if a.account == account and a.default_qos]
    return mine[0] if mine else (found.usable_qos[0] if len(found.usable_qos) == 1 else "")


def _offered(p: PartitionFacts, found: Survey) -> Offered:
    row = p.row
    if not p.kinds:
        return Offered(row.name, found.me.arch, 0, 0, 0, barred=p.barred or "it has no nodes")
    first, *others = p.kinds
    remarks = [f"also there, not offered: {_kind(k)}" for k in others]
    if row.state != "UP" or p.usable_nodes < row.nodes:
        remarks.append(f"now {row.state}, {p.usable_nodes} of {row.nodes} nodes are up")
    if first.threads > 1:
        remarks.append(f"cores are hardware threads here, {first.threads} a core")
    if row.max_nodes is not None and row.max_nodes < row.nodes:
        remarks.append(f"a job may have at most {row.max_nodes} nodes")
    types = sorted(first.gpus, key=lambda g: -g[1])
    gpu_type, gpus = types[0] if types else ("", 0)
    remarks += [f"also {n} GPUs of type {k} in each node" for k, n in types[1:]]
    return Offered(
        row.name, first.arch, first.nodes, first.cores, first.memory_mib, row.max_time_s or 0, gpus, gpu_type,
        tuple(remarks), p.barred,
    )  # fmt: skip


def _kind(k: Any) -> str:
    gpus = "".join(f", {n} GPUs{f' of type {t}' if t else ''}" for t, n in k.gpus)
    return f"{k.nodes} nodes of {k.cores} cores, {k.memory_mib} MiB{gpus}, {k.arch}"


def _partition(p: PartitionFacts) -> dict[str, Any]:
    return {
        "name": p.row.name, "state": p.row.state, "default": p.row.default, "barred": p.barred, "usable_nodes": p.usable_nodes,
        "max_wall_s": p.row.max_time_s, "max_nodes": p.row.max_nodes,
        "kinds": [{"nodes": k.nodes, "arch": k.arch, "cores": k.cores, "threads": k.threads, "memory_mib": k.memory_mib,
                   "gpus": dict(k.gpus), "features": list(k.features)} for k in p.kinds],
    }  # fmt: skip
