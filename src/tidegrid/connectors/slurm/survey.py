"""What a Slurm cluster is, read once: the material for the network file's section."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.slurm.commands import Config, Ping
from tidegrid.connectors.slurm.facts import facts_of
from tidegrid.connectors.slurm.shell import Shell
from tidegrid.connectors.slurm.ssh import LoginFailed
from tidegrid.connectors.slurm.survey_commands import (
    NEEDED,
    Association,
    Associations,
    DefaultAccount,
    Identity,
    ListQos,
    Me,
    NodeFacts,
    PartitionRow,
    Place,
    Places,
    Qos,
    ShowNodes,
    ShowPartitions,
    Tools,
)


@dataclass(frozen=True, slots=True)
class NodeKind:
    """Equal nodes of one partition. gpus: of one type, by its name; "" where the site gives none."""

    nodes: int
    arch: str
    cores: int
    threads: int
    memory_mib: int
    gpus: tuple[tuple[str, int], ...]
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """A partition and its kinds of nodes, the one with most cores first. barred: why the account cannot use it, or ""."""

    row: PartitionRow
    kinds: tuple[NodeKind, ...]
    usable_nodes: int
    barred: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. limits: MaxArraySize and MaxJobCount; enforced: as in `NodeLoad`."""

    name: str
    version: str
    me: Me
    accounting: bool
    limits: dict[str, int]
    enforced: dict[str, str]
    partitions: tuple[PartitionFacts, ...]
    places: tuple[Place, ...]
    associations: tuple[Association, ...] = ()
    default_account: str = ""
    qos: tuple[Qos, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def accounts(self) -> tuple[str, ...]:
        """The default first."""
        names = sorted({a.account for a in self.associations}, key=lambda n: (n != self.default_account, n))
        return tuple(names)

    @property
    def usable_qos(self) -> tuple[str, ...]:
        mine = [a for a in self.associations if not self.default_account or a.account == self.default_account]
        return tuple(dict.fromkeys(q for a in mine for q in a.qos))


async def survey(shell: Shell) -> Survey:
    """Ask the cluster. LoginFailed (cluster.no_slurm, cluster.controller), SiteUnsure for answers that are none."""
    missing = [n for n, path in (await _ask(shell, Tools())).items() if n in NEEDED and not path]
    if missing:
        raise LoginFailed("cluster.no_slurm", f"{', '.join(missing)}: no such command for this account")
    try:
        await _ask(shell, Ping())
    except SiteUnsure as e:
        raise LoginFailed("cluster.controller", e.message) from None
    config = await _ask(shell, Config())
    facts = facts_of(config)
    me: Me = await _ask(shell, Identity())
    rows, nodes = await _ask(shell, ShowPartitions()), await _ask(shell, ShowNodes())
    associations: list[Association] = []
    default, qos, notes = "", [], []
    if facts.accounting:
        try:
            associations = await _ask(shell, Associations(facts.name))
            default, qos = await _ask(shell, DefaultAccount()), await _ask(shell, ListQos())
        except SiteUnsure as e:
            notes.append(f"accounting is configured and does not answer: {e.message}")
    if me.uid == 0:
        notes.append("this logs in as root: an ordinary account is enough, and safer")
    accounts = {a.account for a in associations}
    places = await _ask(shell, Places())
    limits = {k: int(v) for k in ("MaxArraySize", "MaxJobCount") if (v := config.get(k.lower(), "")).isdigit()}
    return Survey(
        facts.name, facts.version, me, facts.accounting, limits, dict(facts.enforced),
        tuple(partition(r, nodes, me, accounts, {q for a in associations for q in a.qos}) for r in rows),
        tuple(sorted(places, key=lambda p: (not p.networked, -p.free if p.networked else 0))),
        tuple(associations), default, tuple(qos), tuple(notes),
    )  # fmt: skip


def partition(
    row: PartitionRow, nodes: Sequence[NodeFacts], me: Me, accounts: Iterable[str], qos: Iterable[str]
) -> PartitionFacts:
    """One partition's facts for this account. accounts, qos: what it may use; empty where nobody can tell."""
    here = [n for n in nodes if row.name in n.partitions]
    counted = Counter((n.arch or me.arch, n.cpus, n.threads, n.memory_mib, n.gpus, n.features) for n in here)
    kinds = [NodeKind(count, *what) for what, count in counted.items()]
    kinds.sort(key=lambda k: (-k.nodes * k.cores, -k.memory_mib))
    return PartitionFacts(row, tuple(kinds), sum(n.usable for n in here), _barred(row, me, set(accounts), set(qos)))


def _barred(row: PartitionRow, me: Me, accounts: set[str], qos: set[str]) -> str:
    if row.root_only and me.uid != 0:
        return "only root may use it"
    if row.groups and me.uid != 0 and not set(row.groups) & set(me.groups):
        return f"only groups {', '.join(row.groups)} may use it"
    if accounts and row.accounts and not set(row.accounts) & accounts:
        return f"only accounts {', '.join(row.accounts)} may use it"
    if accounts and row.denied_accounts and accounts <= set(row.denied_accounts):
        return f"accounts {', '.join(row.denied_accounts)} may not use it"
    if qos and row.qos and not set(row.qos) & qos:
        return f"only QOS {', '.join(row.qos)} may use it"
    return ""


async def _ask(shell: Shell, command: Any) -> Any:
    return command.parse(await shell.run(command.command, timeout=command.seconds + 4))
