"""sbatch: scripts written for Slurm."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.cli.signals import deferred
from tidegrid.domain.errors import InvalidInput

if TYPE_CHECKING:
    from tidegrid.client import Job, Tide

USAGE = "[OPTIONS OF SBATCH] [--with FILE]… [--bring GLOB]… [--ignore NAME]… [--dry-run] [--key KEY] [--json] SCRIPT [ARGS]…"
_VALUES = ("with", "bring", "ignore", "key")
_SWITCHES = ("dry-run", "json")
_SETTINGS = {"ignore_unknown_options": True, "allow_interspersed_args": False, "allow_extra_args": True}


def register(app: typer.Typer) -> None:
    app.command(context_settings=_SETTINGS, options_metavar=USAGE)(sbatch)


def sbatch(ctx: typer.Context, json: Json = False) -> int:
    """Submit a batch script written for Slurm, and print the job's id.

    Options are sbatch's own; over them stand SBATCH_* variables and the command line, as in Slurm. `-` reads the script from standard
    input. What a line asks for and cannot be kept is refused by its line, or told where nothing depends on it.

    --with FILE: a file or directory for the job, under its name below this directory. --bring GLOB: results to bring back, all that
    is new by default. --ignore NAME: leave this option of sbatch out. --dry-run: show what would be submitted. --key KEY: submitting
    twice with it submits once.
    """
    own, options, script, args = arguments(ctx.args)
    as_json, dry = json or "json" in own, "dry-run" in own
    text = ""
    if script:
        text = sys.stdin.read() if script == "-" else _read(Path(script))
    variables = {n: os.environ[n] for n in _exported(options, text) if n in os.environ}
    with context.connected() as tide:
        found = tide.batch_script(
            text, name=Path(script).name if script not in ("", "-") else "", options=options, args=args,
            environment={k: v for k, v in os.environ.items() if k.startswith("SBATCH_")}, variables=variables,
            ignore=own.get("ignore", []),
        )  # fmt: skip
        body = found["submission"]
        if own.get("bring"):
            body["outputs"] = own["bring"]
        if dry or found["dry_run"]:
            _show(found, as_json)
            return 0
        if not as_json:
            _remarks(found)
        body = body | ({"inputs": inputs} if (inputs := _inputs(tide, own.get("with", []))) else {})
        job = _submit(tide, body, (own.get("key") or [""])[-1])
        if not found["wait"]:
            context.emit({**job.raw, "remarks": found["remarks"]}) if as_json else print(job.id)
            return 0
        if not as_json:
            print(job.id, flush=True)
        from tidegrid.cli.watch import wait_for

        job = wait_for(tide, [job.id], quiet=as_json)[0]
    if as_json:
        context.emit({**job.raw, "remarks": found["remarks"]})
    else:
        context.note(f"{job.id} {job.state}{f' ({job.reason})' if job.reason and not job.succeeded else ''}")
    return 0 if job.succeeded else 1


def arguments(words: list[str]) -> tuple[dict[str, list[str]], list[str], str, list[str]]:
    """(this command's own options, sbatch's, the script, its arguments)"""
    own: dict[str, list[str]] = {}
    options: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, sign, value = word.removeprefix("--").partition("=") if word.startswith("--") else ("", "", "")
        if name in _SWITCHES and not sign:
            own[name] = []
        elif name in _VALUES:
            if not sign and not rest:
                raise InvalidInput("option.malformed", f"--{name} needs a value")
            own.setdefault(name, []).append(value if sign else rest.pop(0))
        else:
            options.append(word)
            if not sign and rest and _wants_more(name, word[1:]):
                options.append(rest.pop(0))
    wraps = any(o == "--wrap" or o.startswith("--wrap=") for o in options)
    if not rest and not wraps:
        raise InvalidInput("submit.what", "there is no script to submit", hint="tide sbatch SCRIPT, or - for standard input")
    script, args = (rest[0], rest[1:]) if rest else ("", [])
    return own, options, script, args


def _wants_more(name: str, letters: str) -> bool:
    """Whether the value of this long option, or of the last of these letters, is the next word."""
    from tidegrid.catalog.batch_options import OPTIONS, SHORT, Takes

    if name:
        like = [OPTIONS[name]] if name in OPTIONS else [o for o in OPTIONS.values() if o.name.startswith(name)]
        return len(like) == 1 and like[0].takes is Takes.VALUE
    for i, letter in enumerate(letters):
        option = SHORT.get(letter)
        if option is None or option.takes is Takes.VALUE:
            return option is not None and i == len(letters) - 1
    return False


def _exported(options: list[str], text: str) -> set[str]:
    """Names that an `--export` anywhere asks for without a value: only these leave this machine."""
    told = [*options, *re.findall(r"(?m)^#SBATCH.*?--export[= ](\S+)", text), os.environ.get("SBATCH_EXPORT", "")]
    words = {w for t in told for w in re.split(r"[,\s]", t.removeprefix("--export="))}
    return {w for w in words if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", w)}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        try:
            return path.read_text(encoding="gb18030")
        except UnicodeDecodeError:
            raise InvalidInput("sbatch.text", f"{path} is no text", hint="save it as UTF-8") from None


def _inputs(tide: Tide, named: list[str]) -> list[dict[str, Any]]:
    """Files and directories under their names below this directory; others under their last name."""
    from tidegrid.cli.spec import brought

    wanted: dict[str, Path] = {}
    here = Path.cwd()
    for name in named:
        if not Path(name).exists():
            raise InvalidInput("file.missing", f"--with: there is no file {name!r}")
        whole = Path(os.path.normpath(Path(name).absolute()))
        if whole == here:
            raise InvalidInput("input.path", "--with names this directory itself", hint="name the files and directories in it")
        wanted[whole.relative_to(here if whole.is_relative_to(here) else whole.parent).as_posix()] = whole
    return [brought(tide, path, source) for path, source in wanted.items()]


def _submit(tide: Tide, body: dict[str, Any], key: str) -> Job:
    job: Job | None = None
    try:
        with deferred():
            job = tide.submit(**body, key=key or None)
    except KeyboardInterrupt:
        if job is not None:
            context.note(f"{job.id} is submitted; `tide cancel {job.id}` takes it back")
        raise
    return job


def _remarks(found: dict[str, Any]) -> None:
    for r in found["remarks"]:
        option = f"--{r['option']}: " if r["option"] else ""
        mark = "left out: " if r["fate"] == "left out" else ""
        context.note(f"{r['where']}: {option}{mark}{r['text']}")


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        context.emit(found)
        return
    from tidegrid.cli import show

    body = {k: v for k, v in found["submission"].items() if k not in ("app", "params")}
    rows: list[list[Any]] = []
    for key, value in body.items():
        inner = value if isinstance(value, dict) else {"": value}
        rows += [[f"{key}.{k}".rstrip("."), ", ".join(map(str, v)) if isinstance(v, list) else v] for k, v in inner.items()]
    params = found["submission"]["params"]
    rows += [[f"params.{k}", v] for k, v in params.items() if k != "script"]
    rows.append(["params.script", f"{params['script'].count(chr(10))} lines"])
    show.table(["FIELD", "VALUE"], [[k, str(v)] for k, v in rows])
    _remarks(found)
