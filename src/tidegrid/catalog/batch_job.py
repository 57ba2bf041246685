"""An `#SBATCH` script as a submission of this platform: every option used, left out with a remark, or refused, each by its line.

What Slurm leaves to the controller is settled here: where tasks are asked for without nodes, they go on the fewest nodes that hold
them evenly; where no memory is asked for, a core gets its share of a node; without a wall time, an hour.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegrid.catalog import batch_values as values
from tidegrid.catalog.batch_options import (
    COMMAND_LINE,
    SCRIPT,
    Fate,
    Given,
    of_environment,
    parse,
    strongest,
)
from tidegrid.catalog.batch_words import read
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.ranges import compress, parse_array

APP = "sbatch"
DEFAULT_WALL_S = 3600
CORE_MIB = 1024  # of a core's share of memory, where no node is known
LEAST_MIB = 256
_FEATURE = re.compile(r"^[A-Za-z0-9_.:&|*()\[\]-]{1,200}\Z")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_MODULE = re.compile(r"^\s*(module\s+(load|add|swap|use)|ml\s+\S|spack\s+load)\b")
_PROJECT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """A partition's largest node."""

    cores: int
    memory_mib: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What the platform knows. places: by `cluster/partition`; projects: the submitter's; now_s: unix time; offset_s: what the
    submitter's clock is ahead of UTC."""

    places: Mapping[str, Place] = field(default_factory=dict)
    projects: frozenset[str] = frozenset({"default"})
    now_s: int = 0
    offset_s: int = 0


@dataclass(frozen=True, slots=True)
class Remark:
    """line: in the script, 0 elsewhere; where: in words; fate: used | left out | refused."""

    line: int
    where: str
    option: str
    fate: str
    text: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """body: a submission, without inputs; begin_s: unix time, 0 for now; wait, dry_run: what sbatch itself was asked for."""

    body: dict[str, Any]
    remarks: tuple[Remark, ...]
    begin_s: int = 0
    wait: bool = False
    dry_run: bool = False


def translate(
    text: str,
    known: Known,
    *,
    name: str = "",
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    args: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Mapped:
    """name: of the script's file; options: of the command line; environment: `SBATCH_*`; variables: the values of those that
    `--export` names; ignore: options to leave out.

    InvalidInput (sbatch.refused) with `details.problems` [{line, path, message}], all of them; those of `batch_words.read`.
    """
    return _Translation(known, variables or {}, ignore).run(text, name, options, environment or {}, args)


class _Translation:
    def __init__(self, known: Known, variables: Mapping[str, str], ignore: Sequence[str]) -> None:
        self.known, self.variables = known, variables
        self.ignore = {i.lstrip("-") for i in ignore}
        self.problems: list[Remark] = []
        self.remarks: list[Remark] = []
        self.got: dict[str, Given] = {}

    def run(
        self, text: str, name: str, options: Sequence[str], environment: Mapping[str, str], args: Sequence[str]
    ) -> Mapped:
        wanted = self._parsed([(options, "command line", 0, COMMAND_LINE)])
        wrap = next((g.value for g in reversed(wanted) if g.option.name == "wrap"), None)
        if wrap is not None:
            if text.strip() or args:
                raise InvalidInput("sbatch.wrap", "--wrap stands instead of a script and its arguments", hint="give one of them")
            text, name = f"#!/bin/sh\n# --wrap\n{wrap}\n", name or "wrap"
        script = read(text)
        given = self._parsed([(d.words, f"line {d.line}", d.line, SCRIPT) for d in script.directives])
        try:
            named, unknown = of_environment(environment)
        except InvalidInput as e:
            named, unknown = [], []
            self.problems.append(Remark(0, "environment", "", Fate.REFUSED, e.message))
        self.got = strongest([*given, *named, *wanted])
        for line, what in script.remarks:
            self.remarks.append(Remark(line, f"line {line}", "", Fate.USED, what))
        for variable in unknown:
            self.remarks.append(Remark(0, variable, "", Fate.LEFT_OUT, f"{variable} is not known here"))
        for line in script.late:
            self.remarks.append(
                Remark(line, f"line {line}", "", Fate.LEFT_OUT, "it stands after the first command, where sbatch does not read it")
            )
        for option, g in list(self.got.items()):
            if option in self.ignore:
                self._leave_out(g, "as wished")
                del self.got[option]
            elif g.option.fate is Fate.REFUSED:
                self._refuse(g, f"--{g.option.name} cannot be kept: {g.option.why}")
            elif g.option.fate is Fate.LEFT_OUT:
                self._leave_out(g, g.option.why)
        mapped = self._map(script.text, name, args)
        for number, row in enumerate(script.text.split("\n"), 1):
            if _MODULE.match(row):
                self._remark(number, "", Fate.USED, f"`{row.strip()[:60]}` needs that software where the job runs: --partition or -M keeps it there")
        if self.problems:
            first = self.problems[0]
            more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            raise InvalidInput(
                "sbatch.refused", f"{first.where}: {first.text}{more}",
                hint="change the script, or leave an option out with --ignore NAME",
                details={"problems": [{"line": p.line, "path": p.option or p.where, "message": p.text} for p in self.problems]},
            )  # fmt: skip
        remarks = sorted(self.remarks, key=lambda r: (r.line or 1 << 30, r.where, r.option))
        return Mapped(mapped.body, tuple(remarks), mapped.begin_s, mapped.wait, mapped.dry_run)

    def _parsed(self, rows: Sequence[tuple[Sequence[str], str, int, int]]) -> list[Given]:
        out: list[Given] = []
        for words, where, line, rank in rows:
            try:
                out += parse(words, where, line=line, rank=rank)
            except InvalidInput as e:
                self.problems.append(Remark(line, where, "", Fate.REFUSED, e.message.removeprefix(f"{where}: ")))
        return out

    # What becomes of the options ----------------------------------------------------------------------------------------

    def _map(self, text: str, name: str, args: Sequence[str]) -> Mapped:
        job_name = self._text("job-name") or name or "sbatch"
        tasks, throttle = self._array()
        nodes, ranks, resources = self._resources()
        params: dict[str, Any] = {
            "script": text, "args": list(args), "job_name": job_name, "tasks": nodes * ranks,
            **self._streams(job_name, bool(tasks)), **self._counts(),
        }  # fmt: skip
        wall = self._wall()
        resources["wall_s"] = wall
        if (warning := self._value("signal", values.signal)) is not None:
            params["signal"] = {
                "name": warning.name, "after_s": max(1, wall - warning.before_s), "batch": warning.batch,
            }  # fmt: skip
        if tasks:
            numbers = parse_array(tasks)[0]
            step = min((b - a for a, b in itertools.pairwise(numbers)), default=1)
            params["array"] = {"count": len(numbers), "min": numbers[0], "max": numbers[-1], "step": step}
        constraints = self._places()
        after = self._value("dependency", values.dependency) or values.Dependencies()
        env, params["export_none"] = self._exports()
        begin = self._value("begin", lambda t: values.moment(t, self.known.now_s, self.known.offset_s)) or 0
        restart = self.got.get("requeue")
        off = self.got.get("no-requeue")
        body = {
            "app": APP,
            "params": {k: v for k, v in params.items() if v not in ("", [], None, False)},
            "name": job_name[:200],
            "project": self._project(),
            "resources": resources,
            "constraints": constraints,
            "array": f"{tasks}%{throttle}" if throttle else tasks,
            "after_ok": list(after.ok),
            "after_any": list(after.any),
            "env": env,
            "restartable": restart is not None and (off is None or restart.rank > off.rank),
            "held": "hold" in self.got,
            "site": self._site(bool(constraints)),
        }
        return Mapped(
            {k: v for k, v in body.items() if v not in ("", [], {}, None, False)}, (), begin,
            "wait" in self.got, "test-only" in self.got,
        )  # fmt: skip

    def _resources(self) -> tuple[int, int, dict[str, Any]]:
        """(nodes, tasks on each, the resources without wall time)"""
        tasks = self._value("ntasks", values.count)
        per_node = self._value("ntasks-per-node", values.count)
        span = self._value("nodes", values.nodes)
        per_task = self._value("cpus-per-task", values.count)
        node_gpus, kind = self._gpus()
        all_gpus = self._value("gpus", values.gpus)
        gpus_a_task = self._value("gpus-per-task", values.gpus)
        if all_gpus is not None and not node_gpus:
            kind = all_gpus.type
        if gpus_a_task is not None:
            kind = gpus_a_task.type
        if (a_gpu := self._value("ntasks-per-gpu", values.count)) and tasks is None and per_node is None:
            if node_gpus:
                per_node = a_gpu * node_gpus
            elif all_gpus is not None:
                tasks = a_gpu * all_gpus.number
        cpus_a_gpu = self._value("cpus-per-gpu", values.count)
        total_gpus = all_gpus.number if all_gpus is not None and not node_gpus else 0

        def shape(n: int) -> tuple[int, int, int, str]:
            """(tasks, cores, GPUs) of each of n nodes, and why it cannot be."""
            if tasks is None:
                each = per_node or 1
            elif tasks % n:
                return 0, 0, 0, f"{tasks} tasks cannot be spread evenly over {n} nodes"
            else:
                each = tasks // n
                if per_node is not None and each > per_node:
                    return 0, 0, 0, f"{tasks} tasks, {per_node} a node, need more than {n} nodes"
            if total_gpus % n:
                return 0, 0, 0, f"{total_gpus} GPUs cannot be spread evenly over {n} nodes"
            gpus = node_gpus or total_gpus // n
            if gpus_a_task is not None:
                gpus = gpus_a_task.number * each
            cores = each * (per_task or 1)
            if cpus_a_gpu and per_task is None:
                cores = max(each, cpus_a_gpu * gpus)
            return each, cores, gpus, ""

        low, high = span or (1, 0)
        if span is not None and tasks is not None and tasks < low:
            low = high = tasks  # as sbatch does: no more nodes than tasks
        if span is None:
            low = math.ceil(tasks / per_node) if tasks is not None and per_node is not None else 1
            high = max(low, tasks or 1, total_gpus)
        places = self._eligible()
        why, chosen = "", None
        for n in range(low, min(high, low + 100_000) + 1):
            each, cores, gpus, trouble = shape(n)
            why = why or trouble
            if trouble:
                continue
            chosen = chosen or (n, each, cores, gpus)  # nothing is large enough: placement says so
            if not places or any(p.cores >= cores and p.gpus >= gpus for p in places) or (span == (low, high) and low == high):
                chosen = (n, each, cores, gpus)
                break
        if chosen is None:
            g = self.got.get("ntasks") or self.got.get("gpus") or self.got.get("nodes")
            self._refuse(g, f"{why}: say --nodes and --ntasks-per-node so that it comes out even")
            chosen = (1, 1, 1, 0)
        n, each, cores, gpus = chosen
        if span is None and n > 1:
            self._remark(0, "nodes", Fate.USED, f"{n} nodes with {each} tasks each: the fewest that hold them evenly")
        if span is not None and span[0] != span[1]:
            self._remark(self.got["nodes"].line, "nodes", Fate.USED, f"{n} of {span[0]} to {span[1]} nodes")
        out: dict[str, Any] = {"cores": cores, "memory_mib": self._memory(cores, gpus), "nodes": n, "ranks": each}
        if gpus:
            out |= {"gpus": gpus} | ({"gpu_type": kind} if kind else {})
        if "exclusive" in self.got:
            out["exclusive"] = True
            if (how := self.got["exclusive"].value) in ("user", "mcs", "topo"):
                self._leave_out(self.got["exclusive"], f"exclusive={how} is read as whole nodes")
        return n, each, out

    def _memory(self, cores: int, gpus: int) -> int:
        """MiB on each node."""
        asked = {k: self.got[k] for k in ("mem", "mem-per-cpu", "mem-per-gpu") if k in self.got}
        top = max((g.rank for g in asked.values()), default=0)
        asked = {k: g for k, g in asked.items() if g.rank == top}
        if len(asked) > 1:
            names = " and ".join(f"--{k}" for k in asked)
            self._refuse(list(asked.values())[-1], f"{names} exclude each other, as in Slurm")
        places = [p for p in self._eligible() if p.cores >= cores and p.gpus >= gpus] or self._eligible()
        for key, g in asked.items():
            found = self._value(key, values.mebibytes)
            if found is None:
                return LEAST_MIB
            if found:
                return int(found) * {"mem": 1, "mem-per-cpu": cores, "mem-per-gpu": max(gpus, 1)}[key]
            if not places:
                self._refuse(g, f"--{key}=0, all of a node's memory, cannot be told without a network: name an amount")
                return LEAST_MIB
            least = min(p.memory_mib for p in places)
            self._remark(g.line, key, Fate.USED, f"all of a node's memory: {least} MiB, of the smallest node it may run on")
            return least
        whole = "exclusive" in self.got
        if places:
            share = min(p.memory_mib if whole else p.memory_mib * cores // max(p.cores, 1) for p in places)
        else:
            share = CORE_MIB * cores
        share = max(LEAST_MIB, share)
        self._remark(0, "mem", Fate.USED, f"no memory is asked for: {share} MiB a node, {'all of it' if whole else 'its share for the cores'}")
        return share

    def _gpus(self) -> tuple[int, str]:
        """GPUs of each node, and their type."""
        found = values.Gpus(0)
        if (asked := self._value("gres", values.gres)) is not None:
            found, others = asked
            for other in others:
                self._refuse(self.got["gres"], f"the generic resource {other} is not known here")
        if (asked_node := self._value("gpus-per-node", values.gpus)) is not None:
            found = asked_node
        return found.number, found.type

    def _wall(self) -> int:
        found: int | None = self._value("time", values.minutes)
        if found == values.UNLIMITED:
            self._refuse(self.got["time"], "a job needs a wall time here: give --time")
        if found is None and "time" not in self.got:
            self._remark(0, "time", Fate.USED, f"no wall time is asked for: {DEFAULT_WALL_S // 3600} h")
        return found if found is not None and found > 0 else DEFAULT_WALL_S

    def _array(self) -> tuple[str, int]:
        def tasks(text: str) -> tuple[str, int]:
            try:
                numbers, throttle = parse_array(text)
            except InvalidInput as e:
                raise ValueError(e.message) from None
            return compress(numbers), throttle

        return self._value("array", tasks) or ("", 0)

    def _streams(self, job_name: str, array: bool) -> dict[str, Any]:
        """Where standard output and error are to be found, standard input, and the directory."""
        fixed = {"x": job_name, "u": "user"}
        out: dict[str, Any] = {}
        for key in ("output", "error", "input"):
            g = self.got.get(key)
            text = g.value if g is not None else ("slurm-%A_%a.out" if array else "slurm-%j.out") if key == "output" else ""
            if not text or text == "none":
                continue
            if text == "/dev/null":
                if key == "output":
                    out["quiet"] = True
                continue
            if key == "input" and text.startswith("/"):
                self._refuse(g, f"{text} is a file of the submitter's own machine: bring it with --with, and name it without its directory")
                continue
            name, lost = values.file_name(text, fixed)
            if not name:
                self._refuse(g, f"{text!r} names no file")
                continue
            if lost:
                self._remark(g.line if g else 0, key, Fate.USED, f"{text} lies outside of the job's directory: it is {name} among its results")
            out[key] = name
        if (g := self.got.get("chdir")) is not None:
            steps = [s for s in g.value.split("/") if s not in ("", ".")]
            if g.value.startswith("/") or ".." in steps:
                self._leave_out(g, f"{g.value} is not where the job runs: it works in a directory of its own")
            elif steps:
                out["chdir"] = "/".join(steps)
        return out

    def _counts(self) -> dict[str, Any]:
        """What sbatch hands on in variables only where it was asked for."""
        named = {"cpus-per-task": "cpus_per_task", "ntasks-per-node": "tasks_per_node"}
        found: dict[str, Any] = {new: self._value(old, values.count) for old, new in named.items() if old in self.got}
        if "mem-per-cpu" in self.got:
            found["mem_per_cpu"] = self._value("mem-per-cpu", values.mebibytes)
        return found

    def _places(self) -> dict[str, Any]:
        """Partitions and clusters that this network knows bind the job; others are names of another place."""
        named = self._named()
        return {"any_of": named} if named else {}

    def _named(self, tell: bool = True) -> list[str]:
        clusters = {p.partition("/")[0] for p in self.known.places}
        wanted = [c for c in self.got["clusters"].value.split(",") if c] if "clusters" in self.got else []
        here = [c for c in wanted if c in clusters]
        if tell and wanted and not here:
            self._leave_out(self.got["clusters"], f"no cluster is called {', '.join(wanted)} in this network: it is placed by what it needs")
        g = self.got.get("partition")
        partitions = [p for p in g.value.split(",") if p] if g is not None else []
        found = [
            place
            for p in partitions
            for place in sorted(self.known.places)
            if (place == p if "/" in p else place.partition("/")[2] == p) and (not here or place.partition("/")[0] in here)
        ]
        if tell and g is not None:
            if found:
                self._remark(g.line, "partition", Fate.USED, f"it may run at {', '.join(found[:8])}{'…' if len(found) > 8 else ''}, called so")
            else:
                self._leave_out(g, f"no partition is called {', '.join(partitions)} in this network: it is placed by what it needs")
        return list(dict.fromkeys(found)) or here

    def _eligible(self) -> list[Place]:
        named = self._named(tell=False)
        places = self.known.places
        return [places[p] for p in sorted(places) if not named or p in named or p.partition("/")[0] in named]

    def _site(self, bound: bool) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if (g := self.got.get("constraint")) is not None:
            if _FEATURE.match(g.value):
                out["features"] = g.value
                self._remark(g.line, "constraint", Fate.USED, "only a site that knows this feature takes the job")
            else:
                self._refuse(g, f"{g.value!r} cannot be passed on: write features with & | ( ) [ ] *")
        if (g := self.got.get("qos")) is not None:
            if bound and _PROJECT.match(g.value):
                out["qos"] = g.value
            else:
                self._leave_out(g, "a quality of service belongs to a site: name a partition or cluster of this network to pass it on")
        return out

    def _project(self) -> str:
        g = self.got.get("account")
        if g is None:
            return ""
        if g.value in self.known.projects:
            return g.value
        self._leave_out(g, f"there is no project {g.value!r}: it is counted to `default`")
        return ""

    def _exports(self) -> tuple[dict[str, str], bool]:
        """Variables for the job, and whether it is to have nothing else."""
        g = self.got.get("export")
        if g is None:
            return {}, False
        env: dict[str, str] = {}
        words = re.findall(r"""(?:[^,'"]|'[^']*'|"[^"]*")+""", g.value)
        for word in words:
            name, sign, value = word.partition("=")
            if name.upper() in ("ALL", "NONE", "NIL") and not sign:
                if name.upper() == "ALL":
                    self._leave_out(g, "variables of the submitter's shell are not carried: name those that are needed, --export=NAME")
                continue
            if not _NAME.match(name) or name.startswith("TIDE_"):
                self._refuse(g, f"{name!r} cannot be the name of a variable of a job")
            elif sign:
                env[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
            elif name in self.variables:
                env[name] = self.variables[name]
            else:
                self._leave_out(g, f"{name} is not set where it was submitted")
        return env, bool(words) and words[0].upper() in ("NONE", "NIL")

    # ----------------------------------------------------------------------------------------------------------------------

    def _text(self, name: str) -> str:
        return self.got[name].value if name in self.got else ""

    def _value(self, name: str, read_it: Callable[[str], Any]) -> Any:
        """The option's value, None where it is not given or cannot be read, which is told once."""
        g = self.got.get(name)
        if g is None:
            return None
        try:
            return read_it(g.value)
        except ValueError as e:
            self._refuse(g, f"--{g.option.name}: {e}")
            return None

    def _refuse(self, g: Given | None, text: str) -> None:
        problem = Remark(g.line if g else 0, g.where if g else "script", g.option.name if g else "", Fate.REFUSED, text)
        if problem not in self.problems:
            self.problems.append(problem)

    def _leave_out(self, g: Given, why: str) -> None:
        self.remarks.append(Remark(g.line, g.where, g.option.name, Fate.LEFT_OUT, why))

    def _remark(self, line: int, option: str, fate: Fate, text: str) -> None:
        remark = Remark(line, f"line {line}" if line else "script", option, fate, text)
        if remark not in self.remarks:
            self.remarks.append(remark)
