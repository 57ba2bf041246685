"""A cluster's part of the network file, as text, from what was found there. What only people know is marked FILL IN, which
the reader refuses by name and line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegrid.catalog import yamldoc
from tidegrid.domain.errors import Conflict, InvalidInput

FILL_IN = "FILL IN"
SECTIONS = ("providers", "sites", "clusters")
_PLAIN = re.compile(r"^[A-Za-z/][A-Za-z0-9_./@+-]*( [A-Za-z0-9+/=]+)?\Z")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off")


@dataclass(frozen=True, slots=True)
class Offered:
    """A partition to propose. remarks: comments above it; barred: why it is proposed as a comment only."""

    name: str
    arch: str
    nodes: int
    cores: int
    memory_mib: int
    max_wall_s: int = 0
    gpus: int = 0
    gpu_type: str = ""
    remarks: tuple[str, ...] = ()
    barred: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """blocks: text of each section's new entry, indented by two; header: comments."""

    name: str
    header: tuple[str, ...]
    blocks: Mapping[str, str]

    def document(self) -> str:
        """A network file with this cluster alone."""
        head = "".join(f"# {line}\n" for line in self.header)
        return head + "network: network\n" + "".join(f"{s}:\n{self.blocks[s]}" for s in SECTIONS)


def propose(
    name: str,
    connector: Mapping[str, Any],
    partitions: Sequence[Offered],
    *,
    header: Sequence[str] = (),
    time_zone: str = "",
    remarks: Mapping[str, str] | None = None,
) -> Proposal:
    """remarks: a comment behind a connector's setting, by key."""
    said = remarks or {}
    gpus = any(p.gpus and not p.barred for p in partitions)
    lines = [f"  {name}:", f"    site: {name}-hall", "    connector:"]
    for key, value in connector.items():
        if isinstance(value, list):
            lines += [f"      {key}:", *(f"        - {scalar(v)}" for v in value)]
        else:
            lines.append(f"      {key}: {scalar(value)}" + (f"  # {said[key]}" if key in said else ""))
    per_gpu = ", marginal_gpu_hour: 0.80" if gpus else "", ", gpu_hour: 3.00" if gpus else ""
    lines += [
        f"    supply: {FILL_IN}  # what it costs: {{kind: co_built, marginal_core_hour: 0.02{per_gpu[0]}}}"
        f" or {{kind: purchased, core_hour: 0.08{per_gpu[1]}}}",
        f"    prices: {FILL_IN}  # what customers pay: {{core_hour: 0.10{', gpu_hour: 4.00' if gpus else ''}}}",
        "    partitions:",
    ]
    for p in partitions:
        lines += _partition(p)
    site = f"  {name}-hall: {{provider: {name}-centre, region: {FILL_IN}, time_zone: {scalar(time_zone or FILL_IN)}}}"
    blocks = {
        "providers": f"  {name}-centre: {{}}\n",
        "sites": site + "\n",
        "clusters": "\n".join(lines) + "\n",
    }
    return Proposal(name, tuple(header), blocks)


def _partition(p: Offered) -> list[str]:
    out = [f"      # {r}" for r in p.remarks]
    if p.barred:
        return [*out, f"      # {p.name}: left out: {p.barred}"]
    out += [f"      {scalar(p.name)}:", f"        arch: {p.arch}", f"        nodes: {p.nodes}", f"        cores: {p.cores}",
            f"        memory: {p.memory_mib} MiB"]  # fmt: skip
    if p.gpus:
        out += [f"        gpus: {p.gpus}", f"        gpu_type: {scalar(p.gpu_type or FILL_IN)}"]
    if p.max_wall_s:
        out.append(f"        max_wall: {_span(p.max_wall_s)}")
    return out


def insert(text: str, proposal: Proposal) -> str:
    """A network file with the proposal's blocks put in front of the entries it has; nothing else of it changes.

    Conflict (network.has_cluster) where the name is taken; InvalidInput (network.invalid) for what is no such file, or
    writes a section on one line.
    """
    doc = yamldoc.load(text)
    if not isinstance(doc.value, dict) or doc.problems:
        why = str(doc.problems[0]) if doc.problems else "it is no network file"
        raise InvalidInput("network.invalid", f"the network file: {why}", hint="mend it first; nothing was changed")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    places: list[tuple[int, str]] = []
    for section in SECTIONS:
        entries = doc.value.get(section)
        (new,) = re.findall(r"^  ([^\s:]+):", proposal.blocks[section], re.M)
        if isinstance(entries, dict) and new in entries:
            raise Conflict("network.has_cluster", f"the network file has {section}.{new} already",
                           hint="choose another --name, or change what is there by hand")  # fmt: skip
        if not entries:
            places.append((len(lines), f"{section}:\n{proposal.blocks[section]}"))
            if section in doc.value:
                raise InvalidInput("network.invalid", f"the network file: {section} is empty", hint="remove that line")
            continue
        first = min(doc.keys[section, e].line for e in entries)
        column = min(doc.keys[section, e].column for e in entries) - 1
        if first == doc.keys[(section,)].line or column < 1:
            raise InvalidInput("network.invalid", f"the network file: {section} stands on one line",
                               hint="write one entry a line, or put the proposal in by hand")  # fmt: skip
        block = proposal.blocks[section].replace("\n  ", "\n" + " " * column)
        places.append((doc.keys[(section,)].line, " " * column + block.removeprefix("  ")))
    for line, block in sorted(places, key=lambda p: -p[0]):
        lines.insert(line, block)
    return "".join(lines)


def scalar(value: Any) -> str:
    """One YAML scalar."""
    if isinstance(value, int):
        return str(value)
    text = str(value)
    return text if _PLAIN.match(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)


def a_name(text: str) -> str:
    """`text` as a name of the network file."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "cluster"


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
