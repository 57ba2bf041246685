"""How a program is invoked where it is installed as a command, as a module, in an image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tidegrid.catalog import network, software
from tidegrid.catalog.document import Application, parse
from tidegrid.catalog.network_model import from_json, to_json
from tidegrid.catalog.software import Kind, Variant, choose
from tidegrid.domain.errors import InvalidInput

DOCUMENT = """\
id: solve
title: {en: Solver}
params: {type: object, properties: {n: {type: string, default: "1"}}, additionalProperties: false}
software:
  variants:
    - {command: solve}
    - {module: solver, command: solve, arch: [x86_64]}
    - {apptainer: solver-image, command: /opt/solve}
    - {spack: solver-spec, command: solve}
script: |
  {{ command }} -n {{ n }}
"""


def app(text: str = DOCUMENT) -> Application:
    return parse(text)


def run(script: str, where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    where.mkdir(exist_ok=True)
    (where / "script").write_text(script)
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(["sh", "script"], cwd=where, env=env, capture_output=True, text=True, check=False)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("there", "arch", "kind", "words"),
    [
        ({"solve": "/usr/bin/solve"}, "x86_64", Kind.COMMAND, ("/usr/bin/solve",)),
        ({"solver": {"module": ["s/1"]}}, "x86_64", Kind.MODULE, ("solve",)),
        ({"solver": {"module": ["s/1"]}, "solve": "solve"}, "x86_64", Kind.COMMAND, ("solve",)),
        ({"solver-image": {"apptainer": "/i.sif", "options": ["--nv"]}}, "aarch64", Kind.APPTAINER,
         ("apptainer", "exec", "--nv", "/i.sif", "/opt/solve")),
    ],
)  # fmt: skip
def test_the_first_variant_that_the_cluster_has_is_chosen(there: Any, arch: str, kind: Kind, words: Any) -> None:
    found = app().invocation(arch, there)
    assert found is not None and (found.kind, found.words) == (kind, words)
    assert app().installed(arch, there)


@pytest.mark.parametrize(
    "there",
    [
        {},
        {"solver": {"module": ["s/1"]}},  # not on this architecture
        {"solver": "/usr/bin/solver"},  # a command of the module's name is not that module
        {"solve": {"module": ["s/1"]}},  # and a module of the command's name is not that command
    ],
)
def test_a_cluster_without_any_of_them_cannot_run_it(there: Any) -> None:
    assert not app().installed("aarch64", there)
    assert app().invocation("aarch64", there) is None


def test_a_document_that_names_a_command_takes_it_in_whatever_way_it_is_there() -> None:
    plain = app(DOCUMENT[: DOCUMENT.index("software")] + "software: {command: solve}\nscript: |\n  {{ command }}\n")
    for entry, words in (
        ("/opt/solve", ("/opt/solve",)),
        ({"module": ["s"]}, ("solve",)),
        ({"module": ["s"], "command": "solve-mpi"}, ("solve-mpi",)),
        ({"apptainer": "/i.sif"}, ("apptainer", "exec", "/i.sif", "solve")),
    ):
        found = plain.invocation("x86_64", {"solve": entry})
        assert found is not None and found.words == words


def test_a_module_is_loaded_before_the_script_runs(tmp_path: Path) -> None:
    """With a `module` as a batch script finds it: a function that must be sourced first."""
    program(tmp_path / "opt" / "solve", '#!/bin/sh\necho "solved $*"\n')
    init = f'module() {{ [ "$1 $2" = "load it\'s/1" ] || return 1; PATH="$PATH:{tmp_path}/opt"; }}\n'
    program(tmp_path / "modules" / "init" / "sh", init)
    there = {"solver": {"module": ["it's/1"]}}
    script = rendered(there, n="a b; echo $HOME")
    done = run(script, tmp_path / "work", MODULESHOME=str(tmp_path / "modules"))
    assert (done.returncode, done.stdout) == (0, "solved -n a b; echo $HOME\n"), done.stderr
    done = run(rendered({"solver": {"module": ["it's/2"]}}), tmp_path / "work", MODULESHOME=str(tmp_path / "modules"))
    assert done.returncode == 127
    assert "module load" in done.stderr and "failed" in done.stderr


def test_a_module_that_brings_no_program_is_told(tmp_path: Path) -> None:
    program(tmp_path / "modules" / "init" / "sh", "module() { :; }\n")
    done = run(rendered({"solver": {"module": ["s/1"]}}), tmp_path / "work", MODULESHOME=str(tmp_path / "modules"))
    assert done.returncode == 127 and "solve is not there after module load s/1" in done.stderr


def test_an_image_sees_the_working_directory(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "apptainer", '#!/bin/sh\necho "$APPTAINER_BIND"\nprintf "[%s]" "$@"\n')
    there = {"solver-image": {"apptainer": "/images/with space.sif"}}
    done = run(rendered(there), tmp_path / "work", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/work\n[exec][/images/with space.sif][/opt/solve][-n][1]"


def test_spack_says_what_the_shell_is_to_do(tmp_path: Path) -> None:
    """With a `spack` that answers as Spack's own does: shell text on standard output, nothing and a status where it has no such spec."""
    program(tmp_path / "opt" / "solve", '#!/bin/sh\necho "solved $*"\n')
    answer = f"[ \"$1 $2 $3\" = \"load --sh solver@1.2 +mpi %gcc@12\" ] && echo 'export PATH=\"{tmp_path}/opt:$PATH\";' || exit 1"
    program(tmp_path / "it's spack" / "bin" / "spack", f"#!/bin/sh\n{answer}\n")
    entry = {"spack": "solver@1.2 +mpi %gcc@12", "root": f"{tmp_path}/it's spack/"}
    done = run(rendered({"solver-spec": software.read(entry)}, n="$(touch PWNED)"), tmp_path / "work")
    assert (done.returncode, done.stdout) == (0, "solved -n $(touch PWNED)\n"), done.stderr
    done = run(rendered({"solver-spec": {**entry, "spack": "solver@2"}}), tmp_path / "work")
    assert done.returncode == 127 and "spack load solver@2: failed" in done.stderr
    (tmp_path / "opt" / "solve").unlink()
    done = run(rendered({"solver-spec": entry}), tmp_path / "work")
    assert done.returncode == 127 and "solve is not there after spack load" in done.stderr


def rendered(there: Any, **params: Any) -> str:
    a = app()
    found = a.invocation("x86_64", there)
    assert found is not None
    return a.render(a.validate(params), a.variables(arch="x86_64", software=there), setup=found.setup)


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (3, "a command is wanted"),
        ({}, "one of them"),
        ({"module": "a", "apptainer": "b"}, "one of them"),
        ({"module": []}, "1 to 20"),
        ({"module": ["-f"]}, "no module"),
        ({"module": "a\nb"}, "more than one line"),
        ({"module": "a", "options": ["--nv"]}, "options is not known"),
        ({"apptainer": ""}, "a text is wanted"),
        ({"spack": "s", "options": ["--nv"]}, "options is not known"),
        ({"spack": "--help"}, "no spack"),
    ],
)
def test_an_entry_that_says_nothing_usable_is_refused(entry: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        software.read(entry)


NETWORK = """\
providers: {p: {}}
sites: {s: {provider: p, region: r, time_zone: UTC}}
clusters:
  c:
    site: s
    connector: {kind: embedded}
    supply: {kind: co_built, marginal_core_hour: 0.01}
    prices: {core_hour: 0.05}
    software: {lmp: /usr/bin/lmp, gmx: {module: [gcc/12, gromacs]}, cp2k: {apptainer: /i.sif}}
    partitions: {cpu: {arch: x86_64, nodes: 1, cores: 1, memory: 1 GiB}}
"""


def test_the_network_file_says_what_a_cluster_has_and_in_which_way() -> None:
    found = network.parse(NETWORK)
    there = found.clusters[0].software
    assert there == {"lmp": "/usr/bin/lmp", "gmx": {"module": ["gcc/12", "gromacs"]}, "cp2k": {"apptainer": "/i.sif"}}
    assert from_json(to_json(found)) == found
    invocation = choose((Variant("gmx"),), "x86_64", there)
    assert invocation is not None and "module load gcc/12 gromacs" in invocation.setup


def test_a_fault_in_it_is_told_with_its_place() -> None:
    with pytest.raises(InvalidInput) as e:
        network.parse(NETWORK.replace("{apptainer: /i.sif}", "{image: /i.sif}"))
    assert [p["path"] for p in e.value.details["problems"]] == ["clusters.c.software.cp2k"]
    assert e.value.details["problems"][0]["line"] == 9
