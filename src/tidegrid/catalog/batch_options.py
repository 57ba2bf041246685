"""Every option of sbatch (Slurm 24.11's manual page), and what becomes of it here.

An option is used, left out with a remark because nothing depends on it elsewhere, or refused because the job may depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tidegrid.domain.errors import InvalidInput


class Takes(StrEnum):
    """Whether an option has a value."""

    NOTHING = "nothing"
    VALUE = "value"
    MAYBE = "maybe"  # only behind `=`


class Fate(StrEnum):
    USED = "used"
    LEFT_OUT = "left out"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Option:
    name: str
    short: str
    takes: Takes
    fate: Fate
    why: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """One option as it was given. where: `line 3`, `command line` or a variable's name; line: in the script, 0 elsewhere;
    rank: the higher wins."""

    option: Option
    value: str
    where: str
    line: int
    rank: int


SCRIPT, ENVIRONMENT, COMMAND_LINE = 0, 1, 2
_TUNING = "it tunes a site's nodes, and where the job runs is chosen here"
_SITE = "it belongs to one site"
_OWN = "it belongs to sbatch itself"
_HERE = "the submitter's own machine is not where the job runs"


def _of(fate: Fate, why: str, text: str) -> list[Option]:
    """`name`, `name/s` with its letter, `name=` with a value, `name?` with one that may be left out."""
    out = []
    for word in text.split():
        takes = Takes.VALUE if word.endswith("=") else Takes.MAYBE if word.endswith("?") else Takes.NOTHING
        name, _, short = word.rstrip("=?").partition("/")
        out.append(Option(name, short, takes, fate, why))
    return out


_ALL = [
    *_of(Fate.USED, "", """
        nodes/N= ntasks/n= ntasks-per-node= ntasks-per-gpu= cpus-per-task/c= cpus-per-gpu= mem= mem-per-cpu= mem-per-gpu= time/t=
        partition/p= clusters/M= cluster= account/A= qos/q= constraint/C= gres= gpus/G= gpus-per-node= gpus-per-task= array/a=
        dependency/d= job-name/J= output/o= error/e= input/i= chdir/D= workdir= export= exclusive? signal= hold/H begin/b= deadline= requeue
        no-requeue wait/W test-only wrap=
        """),
    *_of(Fate.LEFT_OUT, "no mail is sent from here; `tide wait` and events tell of a job's end", "mail-type= mail-user="),
    *_of(Fate.LEFT_OUT, _TUNING, """
        ntasks-per-core= ntasks-per-socket= cores-per-socket= sockets-per-node= threads-per-core= extra-node-info/B= hint= cpu-freq=
        mem-bind= cpu-bind= gpu-bind= gpu-freq= tres-bind= distribution/m= switches= contiguous spread-job use-min-nodes overcommit/O
        oversubscribe/s share core-spec/S= thread-spec= network= delay-boot= acctg-freq= profile= power= resv-ports? prefer= segment=
        gres-flags= no-kill/k? stepmgr
        """),
    *_of(Fate.LEFT_OUT, "priority follows from the account here", "nice? priority="),
    *_of(Fate.LEFT_OUT, _SITE, "exclude/x= wckey= mcs-label= reboot"),
    *_of(Fate.LEFT_OUT, _HERE, "get-user-env? propagate?"),
    *_of(Fate.LEFT_OUT, _OWN, "parsable quiet/Q verbose/v ignore-pbs open-mode= comment= admin-comment= extra= kill-on-invalid-dep= oom-kill-step?"),
    *_of(Fate.LEFT_OUT, "a job has one wall time here", "time-min="),
    *_of(Fate.REFUSED, "a job of several unlike parts cannot be placed as one", "hetjob packjob het-group= pack-group="),
    *_of(Fate.REFUSED, "nodes of one site cannot be named", "nodelist/w= nodefile/F= reservation= cluster-constraint="),
    *_of(Fate.REFUSED, "the platform does not know it, and the job may depend on it", """
        licenses/L= tmp= bb= bbf= container= container-id= tres-per-task= tres-per-node= gpus-per-socket= export-file= uid=
        gid= mincpus=
        """),
]  # fmt: skip
OPTIONS: Mapping[str, Option] = {o.name: o for o in _ALL}
SHORT: Mapping[str, Option] = {o.short: o for o in _ALL if o.short}
SAME = {"workdir": "chdir", "cluster": "clusters"}  # older names

# variable -> option; where its value is no value but a switch, `=` is missing
VARIABLES: Mapping[str, str] = {
    "SBATCH_ACCOUNT": "account=", "SBATCH_ARRAY_INX": "array=", "SBATCH_CLUSTERS": "clusters=", "SBATCH_CONSTRAINT": "constraint=",
    "SBATCH_CPUS_PER_GPU": "cpus-per-gpu=", "SBATCH_DEPENDENCY": "dependency=", "SBATCH_ERROR": "error=",
    "SBATCH_EXCLUSIVE": "exclusive", "SBATCH_EXPORT": "export=", "SBATCH_GPUS": "gpus=", "SBATCH_GPUS_PER_NODE": "gpus-per-node=",
    "SBATCH_GPUS_PER_TASK": "gpus-per-task=", "SBATCH_GRES": "gres=", "SBATCH_INPUT": "input=", "SBATCH_JOB_NAME": "job-name=",
    "SBATCH_MEM_PER_CPU": "mem-per-cpu=", "SBATCH_MEM_PER_GPU": "mem-per-gpu=", "SBATCH_MEM_PER_NODE": "mem=",
    "SBATCH_NO_REQUEUE": "no-requeue", "SBATCH_OUTPUT": "output=", "SBATCH_PARTITION": "partition=", "SBATCH_QOS": "qos=",
    "SBATCH_REQUEUE": "requeue", "SBATCH_RESERVATION": "reservation=", "SBATCH_SIGNAL": "signal=", "SBATCH_TIMELIMIT": "time=",
    "SBATCH_WAIT": "wait", "SBATCH_WCKEY": "wckey=",
}  # fmt: skip


def parse(words: Sequence[str], where: str, *, line: int = 0, rank: int = COMMAND_LINE) -> list[Given]:
    """Options as getopt_long reads them: long names may be cut short while they are unambiguous, letters may be put together.

    InvalidInput (sbatch.directive) with its place for an unknown or ambiguous option, a missing value, or a stray word.
    """
    given: list[Given] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and len(word) > 2:
            name, sign, value = word[2:].partition("=")
            option = _long(name, where, line)
            if option.takes is Takes.VALUE and not sign:
                if not rest:
                    raise _bad(where, line, f"--{option.name} needs a value")
                value = rest.pop(0)
            if option.takes is Takes.NOTHING and sign:
                raise _bad(where, line, f"--{option.name} takes no value, and has {value!r}")
            given.append(Given(option, value, where, line, rank))
        elif word.startswith("-") and len(word) > 1 and word != "--":
            letters = word[1:]
            while letters:
                found = SHORT.get(letters[0])
                if found is None:
                    raise _bad(where, line, f"-{letters[0]} is no option of sbatch")
                letters = letters[1:]
                value = ""
                if found.takes is Takes.VALUE:
                    if not letters and not rest:
                        raise _bad(where, line, f"-{found.short} needs a value")
                    value, letters = (letters or rest.pop(0)), ""
                elif found.takes is Takes.MAYBE and letters:
                    value, letters = letters, ""
                given.append(Given(found, value.removeprefix("=") if found.takes is Takes.VALUE else value, where, line, rank))
        elif word in ("hetjob", "packjob"):
            given.append(Given(OPTIONS[word], "", where, line, rank))
        else:
            raise _bad(where, line, f"{word!r} is no option")
    return given


def of_environment(variables: Mapping[str, str]) -> tuple[list[Given], list[str]]:
    """What `SBATCH_*` variables ask for, and the names of those that are not known here."""
    given, unknown = [], []
    for name, value in sorted(variables.items()):
        option = VARIABLES.get(name)
        if option is None:
            unknown.append(name)
        elif option.endswith("="):
            given += parse([f"--{option}{value}"], name, rank=ENVIRONMENT)
        elif option == "exclusive" and value and value not in ("1", "yes"):
            given += parse([f"--exclusive={value}"], name, rank=ENVIRONMENT)
        else:
            given += parse([f"--{option}"], name, rank=ENVIRONMENT)
    return given, unknown


def strongest(given: Iterable[Given]) -> dict[str, Given]:
    """One a name: command line over environment over script, and of equals the last."""
    out: dict[str, Given] = {}
    for g in given:
        name = SAME.get(g.option.name, g.option.name)
        if name not in out or g.rank >= out[name].rank:
            out[name] = g
    return out


def _long(name: str, where: str, line: int) -> Option:
    if name in OPTIONS:
        return OPTIONS[name]
    like = sorted(o for o in OPTIONS if o.startswith(name))
    if len(like) == 1:
        return OPTIONS[like[0]]
    if like:
        raise _bad(where, line, f"--{name} may be {', '.join(f'--{x}' for x in like[:6])}")
    raise _bad(where, line, f"--{name} is no option of sbatch")


def _bad(where: str, line: int, text: str) -> InvalidInput:
    return InvalidInput("sbatch.directive", f"{where}: {text}", details={"line": line, "where": where})
