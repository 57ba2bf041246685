"""cluster add, cluster check."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.domain.errors import Conflict, InvalidInput, TideError

_MARK = {"ok": "ok", "note": "note", "missing": "MISSING", "skipped": "skipped"}
_STYLE = {"ok": "green", "note": "yellow", "missing": "bold red", "skipped": "dim"}


def register(group: typer.Typer) -> None:
    group.command("add")(add)
    group.command("check")(check)


def add(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="slurm", show_default=False)],
    url: Annotated[
        str, typer.Argument(metavar="[URL]", help="ssh://user@host[:port] of a login node; without it, the server's own machine.", show_default=False)
    ] = "",
    name: Annotated[str, typer.Option("--name", help="The cluster's name in the network; by default Slurm's own.", metavar="NAME", show_default=False)] = "",
    identity: Annotated[
        str, typer.Option("--identity", "-i", help="The secret that is the private key; the only one there is by default.", metavar="SECRET", show_default=False)
    ] = "",
    host_key: Annotated[
        list[str] | None, typer.Option("--host-key", help="A host key to trust, or its fingerprint (SHA256:…). Repeatable.", metavar="KEY", show_default=False)
    ] = None,
    accept_host_key: Annotated[
        bool, typer.Option("--accept-host-key", help="Trust the key that the host shows now, and no other from then on.")
    ] = False,
    root: Annotated[str, typer.Option("--root", help="Directory for jobs, seen by the compute nodes too.", metavar="DIR", show_default=False)] = "",
    account: Annotated[str, typer.Option("--account", help="Account to submit under.", metavar="NAME", show_default=False)] = "",
    qos: Annotated[str, typer.Option("--qos", help="QOS to submit with.", metavar="NAME", show_default=False)] = "",
    slurm_conf: Annotated[str, typer.Option("--slurm-conf", help="Where that is not the usual one.", metavar="FILE", show_default=False)] = "",
    path: Annotated[str, typer.Option("--path", help="Where Slurm's commands are, if not in PATH.", metavar="DIRS", show_default=False)] = "",
    write: Annotated[
        Path | None,
        typer.Option("--write", "-w", help="Put the proposal into this network file; made where it does not exist.", metavar="FILE", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Look at a cluster and propose its part of the network file. Nothing is changed, here or there."""
    if kind != "slurm":
        raise InvalidInput("cluster.kind", f"{kind!r} is no kind of cluster that can be looked at", hint="slurm is")
    wanted: dict[str, Any] = {
        "url": url, "name": name, "identity": identity, "host_keys": list(host_key or ()), "accept_host_key": accept_host_key,
        "root": root, "account": account, "qos": qos, "slurm_conf": slurm_conf, "path": path,
    }  # fmt: skip
    with context.connected() as tide:
        try:
            found = tide.discover_cluster(**wanted)
        except Conflict as e:
            if e.code != "cluster.host_key_unknown" or json or not sys.stdin.isatty() or host_key:
                raise
            wanted["host_keys"] = _confirmed(e)
            found = tide.discover_cluster(**wanted)
    if write is not None:
        _write(write, found)
    if json:
        context.emit(found)
        return
    _remarks(found)
    if write is None:
        sys.stdout.write(found["yaml"])
    else:
        context.note(f"{found['name']} is in {write}: replace every FILL IN, then `tide network apply {write}`")


def _confirmed(e: TideError) -> list[str]:
    """The keys shown, where a person says that they are the host's."""
    keys = e.details.get("host_keys") or []
    context.note("the login node shows:")
    for key in keys:
        context.note(f"  {key['key'].split()[0]}  {key['fingerprint']}")
    typer.confirm("Is that what the centre publishes?", abort=True, err=True)
    return [key["key"] for key in keys]


def _remarks(found: dict[str, Any]) -> None:
    names = ", ".join(p["name"] for p in found.get("partitions") or ())
    context.note(f"Slurm {found.get('version')}, logged in as {found.get('user')}; partitions: {names or 'none'}")
    for key in found.get("host_keys") or ():
        context.note(f"trusted: {key['key'].split()[0]} {key['fingerprint']}")
    for note in found.get("notes") or ():
        context.note(f"note: {note}")


def _write(path: Path, found: dict[str, Any]) -> None:
    from tidegrid.catalog.proposal import Proposal, insert

    if not path.exists():
        path.write_text(found["yaml"], encoding="utf-8")
        return
    merged = insert(path.read_text(encoding="utf-8"), Proposal(found["name"], (), found["sections"]))
    path.write_text(merged, encoding="utf-8")


def check(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="A cluster's name.", show_default=False)],
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="As this network file describes it; by default, as it is in force.", metavar="FILE", show_default=False),
    ] = None,
    wait: Annotated[float, typer.Option("--wait", help="How long a trial may wait in the queue, in seconds.", min=1, max=86_400, metavar="S")] = 60,
    json: Json = False,
) -> int:
    """Try, with tiny jobs, whether a cluster can do what the network needs of it. Exit status 0 only when all is well."""
    document = file.read_text(encoding="utf-8") if file is not None else ""
    with context.connected() as tide:
        report = tide.check_cluster(cluster, wait_s=wait, document=document, said=None if json else _say)
    if json:
        context.emit(report)
    else:
        missing = sum(f["state"] == "missing" for f in report["findings"])
        tried = "" if report["ok"] or missing else "not everything could be tried"
        context.note(f"{cluster}: all is well" if report["ok"] else f"{cluster}: {tried or f'{missing} missing'}")
    return 0 if report["ok"] else 1


def _say(f: dict[str, Any]) -> None:
    from rich.text import Text

    from tidegrid.cli import show

    where = f["step"] + (f" {f['partition']}" if f["partition"] else "")
    code = f"  [{f['code']}]" if f["code"] else ""
    out = show.console()
    out.print(Text.assemble((f"{_MARK[f['state']]:8}", _STYLE[f["state"]]), f"{where:20} ", f["text"], (code, "dim")), soft_wrap=True)
    if f["hint"] and f["state"] == "missing":
        out.print(Text(f"{'':29} -> {f['hint']}"), soft_wrap=True)
