"""How a program is invoked at a cluster: as a plain command, out of a module or a Spack installation, or in an Apptainer image.

The network file says what is there, by name:

    software:
      lmp: /usr/bin/lmp                                   # a command
      gromacs: {module: [gcc/12, gromacs/2024.2]}         # `module load` of these, in this order
      lammps: {apptainer: /images/lammps.sif, options: [--nv]}
      cp2k: {spack: 'cp2k@2024.1 +openmp', root: /opt/spack}    # `spack load` of this spec, by /opt/spack/bin/spack

An application document says what it can use, best first; where a document names one command only, it takes that name in
whatever way the cluster has it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MODULES = 20  # of one entry
_TEXT_LIMIT = 1000

# `module` is a shell function that login shells have; the batch script is none, and sources what would have made it.
_MODULE_INIT = """\
if ! command -v module >/dev/null 2>&1; then
    for init in "${MODULESHOME:-/nonexistent}/init/sh" "${LMOD_PKG:-/nonexistent}/init/sh" /etc/profile.d/lmod.sh \\
        /etc/profile.d/modules.sh /usr/share/modules/init/sh /usr/share/lmod/lmod/init/sh; do
        if [ -r "$init" ]; then . "$init"; break; fi
    done
fi
"""
# The working directory lies where no image expects it.
_APPTAINER_INIT = """\
command -v apptainer >/dev/null || { echo 'tidegrid: apptainer is not there' >&2; exit 127; }
APPTAINER_BIND=${APPTAINER_BIND:+$APPTAINER_BIND,}$PWD
export APPTAINER_BIND
"""


class Kind(StrEnum):
    COMMAND = "command"
    MODULE = "module"
    APPTAINER = "apptainer"
    SPACK = "spack"


_OPTIONS = {Kind.MODULE: (), Kind.APPTAINER: ("options",), Kind.SPACK: ("root",)}
_WAYS = "a command is wanted, or {module: …}, or {apptainer: …}, or {spack: …}"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way a document can use: the entry `name` of a cluster's software where it is of this kind (None: of any), on these
    architectures (none: on all). command: the program to call; empty: what the entry says, or the name itself."""

    name: str
    kind: Kind | None = None
    command: str = ""
    arch: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Invocation:
    """kind and name: what was chosen; words: the command as words of a shell; setup: shell text that goes before the script."""

    kind: Kind
    name: str
    words: tuple[str, ...]
    setup: str = ""


def read(value: Any) -> str | dict[str, Any]:
    """One entry of a network file's `software`, as plain JSON. ValueError says what is wrong."""
    if isinstance(value, str):
        return _text(value, "a command")
    if not isinstance(value, dict):
        raise ValueError(_WAYS)
    kinds = [k for k in _OPTIONS if k in value]
    if len(kinds) != 1:
        raise ValueError(f"{_WAYS}: one of them")
    kind = kinds[0]
    known = {str(kind), "command", *_OPTIONS[kind]}
    if unknown := sorted(str(k) for k in set(value) - known):
        raise ValueError(f"{unknown[0]} is not known here (known: {', '.join(sorted(known))})")
    out: dict[str, Any] = {}
    if kind is Kind.MODULE:
        out["module"] = _texts(value["module"], "module", least=1)
    else:
        out[str(kind)] = _text(value[kind], str(kind))
    if "options" in value:
        out["options"] = _texts(value["options"], "options", least=0)
    if "root" in value:
        out["root"] = _text(value["root"], "root")
    if "command" in value:
        out["command"] = _text(value["command"], "command")
    return out


def _texts(value: Any, what: str, *, least: int) -> list[str]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not least <= len(items) <= MODULES:
        raise ValueError(f"{what}: a text or a list of {least} to {MODULES} texts is wanted")
    return [_text(i, what) for i in items]


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what}: a text is wanted")
    if len(value) > _TEXT_LIMIT or any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError(f"{what}: too long, or more than one line")
    if what in ("module", "spack") and value.startswith("-"):
        raise ValueError(f"{what}: {value!r} is no {what}")  # it would be an option of `module load`
    return value


def kind_of(entry: Any) -> Kind:
    """Of an entry as `read` made it."""
    if isinstance(entry, Mapping):
        return next(k for k in _OPTIONS if k in entry)
    return Kind.COMMAND


def choose(variants: Sequence[Variant], arch: str, software: Mapping[str, Any]) -> Invocation | None:
    """The first variant that the cluster has for the architecture; None where it has none."""
    for v in variants:
        entry = software.get(v.name)
        if entry is None or (v.arch and arch not in v.arch):
            continue
        kind = kind_of(entry)
        if v.kind is None or v.kind is kind:
            return _invocation(v, kind, entry)
    return None


def _invocation(v: Variant, kind: Kind, entry: Any) -> Invocation:
    if kind is Kind.COMMAND:
        return Invocation(kind, v.name, (str(entry),))
    program = v.command or str(entry.get("command", "")) or v.name
    if kind is Kind.APPTAINER:
        options = [str(o) for o in entry.get("options", ())]
        return Invocation(
            kind, v.name, ("apptainer", "exec", *options, str(entry["apptainer"]), program), _APPTAINER_INIT
        )
    if kind is Kind.SPACK:
        return Invocation(kind, v.name, (program,), _spack(str(entry["spack"]), str(entry.get("root", "")), program))
    modules = " ".join(shlex.quote(str(m)) for m in entry["module"])
    # Old releases of Modules leave with 0 although they loaded nothing: the program itself is looked for, too.
    setup = (
        _MODULE_INIT
        + f"module load {modules} || {{ echo {_say(f'module load {modules}: failed')} >&2; exit 127; }}\n"
        + f"command -v {shlex.quote(program)} >/dev/null || "
        + f"{{ echo {_say(f'{program} is not there after module load {modules}')} >&2; exit 127; }}\n"
    )
    return Invocation(kind, v.name, (program,), setup)


def _spack(spec: str, root: str, program: str) -> str:
    """`spack load --sh` prints what a shell is to evaluate, and needs no shell function of Spack's. The spec is one word: its
    parts are told apart by Spack."""
    spack = shlex.quote(f"{root.rstrip('/')}/bin/spack") if root else "spack"
    failed = f"spack load {spec}: failed"
    return (
        f"tide_spack=$({spack} load --sh {shlex.quote(spec)}) || {{ echo {_say(failed)} >&2; exit 127; }}\n"
        + 'eval "$tide_spack"\nunset tide_spack\n'
        + f"command -v {shlex.quote(program)} >/dev/null || "
        + f"{{ echo {_say(f'{program} is not there after spack load {spec}')} >&2; exit 127; }}\n"
    )


def _say(text: str) -> str:
    return shlex.quote(f"tidegrid: {text}")
