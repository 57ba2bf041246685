"""An `#SBATCH` script as a submission of this platform: every option used, left out with a remark, or refused, each by its line.

What Slurm leaves to the controller is settled here: where tasks are asked for without nodes, they go on the fewest nodes that hold
them evenly; where no memory is asked for, a core gets its share of a node; without a wall time, an hour.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegrid.catalog import batch_values as values
from tidegrid.catalog.batch_asked import Known, Place, Remark
from tidegrid.catalog.batch_options import (
    COMMAND_LINE,
    SCRIPT,
    Fate,
    Given,
    of_environment,
    parse,
    strongest,
)
from tidegrid.catalog.batch_shape import Shape
from tidegrid.catalog.batch_words import read
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.ranges import compress, parse_array

APP = "sbatch"
DEFAULT_WALL_S = 3600
_FEATURE = re.compile(r"^[A-Za-z0-9_.:&|*()\[\]-]{1,200}\Z")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_MODULE = re.compile(r"^\s*(module\s+(load|add|swap|use)|ml\s+\S|spack\s+load)\b")
_PROJECT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Mapped:
    """body: a submission, without inputs; begin_s, deadline_s: unix time, 0 for now and for none; wait, dry_run: what sbatch itself was asked for."""

    body: dict[str, Any]
    remarks: tuple[Remark, ...]
    begin_s: int = 0
    wait: bool = False
    dry_run: bool = False
    deadline_s: int = 0


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


class _Translation(Shape):
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
        return Mapped(mapped.body, tuple(remarks), mapped.begin_s, mapped.wait, mapped.dry_run, mapped.deadline_s)

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
        deadline = self._value("deadline", lambda t: values.moment(t, self.known.now_s, self.known.offset_s)) or 0
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
            "wait" in self.got, "test-only" in self.got, deadline,
        )  # fmt: skip

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


__all__ = ["APP", "Known", "Mapped", "Place", "Remark", "translate"]
