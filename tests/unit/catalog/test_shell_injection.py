"""No value of a parameter is ever more than a word of the script it goes into."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegrid import apps
from tidegrid.catalog import shellscan
from tidegrid.catalog.document import Application
from tidegrid.catalog.template import Script, TemplateError, quote
from tidegrid.domain.errors import InvalidInput

NASTY = [
    "$(touch PWNED)",
    "`touch PWNED`",
    "; touch PWNED",
    "\ntouch PWNED\n",
    "a' ; touch PWNED ; '",
    'a" ; touch PWNED ; "',
    "\\'; touch PWNED #",
    "| touch PWNED",
    "&& touch PWNED",
    "> PWNED",
    "${x:=$(touch PWNED)}",
    "$((a[$(touch PWNED)]))",
    "{{ 7*7 }}{% for x in ().__class__ %}",
    "EOF\ntouch PWNED\nEOF",
    "--flag",
    "*",
    "~root",
    "!!",
    "\t",
    "",
    " ",
    "海浪 🌊",
    "\x7f\x1b[2J\r",
    "@ROOT@",
]
PACKAGED = {a.id: a for a in apps.documents()}


# What a document wants beside the parameter under attack.
REST: dict[str, dict[str, Any]] = {
    "command": {"program": "program"}, "script": {"script": 'program "$@"'}, "sbatch": {"script": 'program "$SLURM_JOB_NAME" "$@"'}, "python": {"script": "pass"}, "r": {"script": "1"},
}  # fmt: skip
# Their texts name files or programs, which are looked for or made, and are no words of a program that runs.
NAMES = {("command", "program"), *(("sbatch", n) for n in ("output", "error", "input", "chdir"))}
# What a batch script finds at a site.
SITE = {"TIDE_TASK": "0", "TIDE_NATIVE_ID": "7", "TIDE_CORES": "1", "TIDE_NODES": "1", "TIDE_RANKS": "1", "TIDE_MEMORY_MIB": "64"}
# A program that says what it was called with, each word ended by a NUL: it stands for whatever the document runs.
STUB = "#!/bin/sh\n[ $# = 0 ] || printf '%s\\0' \"$@\" >>\"$WITNESS\"\n"


def text_params(app: Application) -> list[tuple[str, bool]]:
    """(name, whether a list of texts), shell scripts left out: they are run by intent."""
    found = []
    for name, schema in app.params["properties"].items():
        if schema.get("type") == "string" and schema.get("contentMediaType") != "text/x-shellscript":
            found.append((name, False))
        elif schema.get("type") == "array" and schema["items"].get("type") == "string":
            found.append((name, True))
    return found


def run(script: str, directory: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["/bin/sh", "-c", script], cwd=directory, capture_output=True, timeout=30, check=False,
                          env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **env})  # fmt: skip


def attacked(app: Application, params: dict[str, Any], directory: Path) -> str:
    """Run the application's script with its own files and with stubs for its programs; every word that these, and the files the
    script wrote, were given."""
    directory.mkdir()
    stub, witness = directory / "bin" / "program", directory / "witness"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    for name in ("blockMesh", "decomposePar", "mpirun"):
        (stub.parent / name).symlink_to(stub)
    work = directory / "work"
    for f in app.files:
        path = work / f.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(apps.content(f.package))
    work.mkdir(exist_ok=True)
    run(app.render(params, {"python": str(stub), "command": str(stub)}), work,
        PATH=f"{stub.parent}:/usr/bin:/bin", WITNESS=str(witness), TIDE_INPUT=str(work / "in"), **SITE)  # fmt: skip
    assert not list(directory.rglob("PWNED*")), params
    own = {f.path for f in app.files}
    written = [p for p in work.rglob("*") if p.is_file() and str(p.relative_to(work)) not in own]
    texts = [p.read_bytes().decode(errors="replace") for p in [*written, *([witness] if witness.exists() else [])]]
    return "\0".join(["", *texts, ""])


CASES = [(app.id, name, listed) for app in PACKAGED.values() for name, listed in text_params(app)]


def test_there_are_text_parameters_to_attack() -> None:
    assert {("command", "program", False), ("command", "args", True), ("script", "args", True), ("python", "script", False),
            ("python", "args", True), ("r", "script", False), ("r", "args", True), ("espresso-scf", "pseudo_dir", False),
            ("summarise", "pattern", False), ("summarise", "fields", True)} <= set(CASES)  # fmt: skip


@pytest.mark.parametrize(("app_id", "name", "listed"), CASES)
def test_a_text_parameter_of_a_packaged_application_stays_text(
    app_id: str, name: str, listed: bool, tmp_path: Path
) -> None:
    """What is accepted arrives as it was typed, and runs nothing; the rest is refused by its path."""
    app = PACKAGED[app_id]
    rest = {k: v for k, v in REST.get(app_id, {}).items() if k != name}
    accepted = 0
    tries = [v for text in NASTY for v in (text, "/" + text)]
    for n, value in enumerate([[v for v in NASTY if v]] if listed else tries):
        try:
            params = app.validate({**rest, name: value})
        except InvalidInput as e:
            assert e.code == "params.invalid" and name in {p["path"].partition("[")[0] for p in e.details["problems"]}
            continue
        accepted += 1
        seen = attacked(app, params, tmp_path / str(n))
        if (app_id, name) in NAMES:
            continue
        for text in value if isinstance(value, list) else [value]:
            assert text in seen, f"{text!r} did not arrive as it was typed: {seen!r}"
    assert accepted > 0


NOT_TEXT = [
    (app.id, name) for app in PACKAGED.values() for name, schema in app.params["properties"].items()
    if schema.get("type") in ("integer", "number", "boolean") or "enum" in schema
]  # fmt: skip


@pytest.mark.parametrize(("app_id", "name"), NOT_TEXT)
def test_what_is_no_text_takes_no_text(app_id: str, name: str) -> None:
    app = PACKAGED[app_id]
    for value in [*NASTY, [NASTY[0]], {"a": NASTY[0]}]:
        with pytest.raises(InvalidInput) as e:
            app.validate({**REST.get(app_id, {}), name: value})
        assert name in {p["path"].partition("[")[0].partition(".")[0] for p in e.value.details["problems"]}


@given(st.data())
@settings(max_examples=40)
def test_any_text_in_any_packaged_application_stays_text(data: st.DataObject) -> None:
    app_id, name, listed = data.draw(st.sampled_from(CASES))
    app = PACKAGED[app_id]
    piece = st.sampled_from([*NASTY, "'", '"', "\\", "$(touch PWNED)", "`touch PWNED`", "\n", ";", "/", "%s", "%n", "-", "=", "{{"])
    text = "".join(data.draw(st.lists(piece, min_size=1, max_size=6)))
    rest = {k: v for k, v in REST.get(app_id, {}).items() if k != name}
    try:
        params = app.validate({**rest, name: [text] if listed else text})
    except InvalidInput:
        return
    with tempfile.TemporaryDirectory() as directory:
        seen = attacked(app, params, Path(directory) / "it")
    assert (app_id, name) in NAMES or text in seen


def test_arguments_arrive_byte_for_byte(tmp_path: Path) -> None:
    app = PACKAGED["command"]
    script = app.render(app.validate({"program": "printf", "args": ["%s\\n", *NASTY]}))
    assert run(script, tmp_path).stdout.decode() == "".join(f"{v}\n" for v in NASTY)


def test_a_users_script_is_data_until_it_runs(tmp_path: Path) -> None:
    text = "#!/bin/cat\nEOF\n' \" $(touch PWNED) `touch PWNED`\n"
    app = PACKAGED["script"]
    done = run(app.render(app.validate({"script": text})), tmp_path)
    assert done.stdout.decode() == text + "\n"
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("char", ["\0", *shellscan.MARKS, "\ud800"])
def test_characters_no_script_can_hold_are_refused_by_path(char: str) -> None:
    with pytest.raises(InvalidInput) as e:
        PACKAGED["command"].validate({"program": "true", "args": ["fine", f"a{char}b"]})
    assert e.value.details["problems"][0]["path"] == "args[1]"


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Co"], exclude_characters="\0\r"), max_size=20), max_size=5
    )
)
@settings(max_examples=25)
def test_any_text_arrives_as_it_was(values: list[str]) -> None:
    script = Script("printf '[%s]' {{ values }}\n").render({"values": values})
    out = subprocess.run(["/bin/sh", "-c", script], capture_output=True, timeout=30, check=True).stdout.decode()
    assert out == ("".join(f"[{v}]" for v in values) or "[]")


MISPLACED = {
    "double quotes": 'echo "{{ x }}"',
    "single quotes": "echo '{{ x }}'",
    "dollar quotes": "echo $'it\\'s {{ x }}'",
    "a here-document": "cat <<EOF\n{{ x }}\nEOF\n",
    "a quoted here-document": "cat <<'EOF'\n{{ x }}\nEOF\n",
    "an indented here-document": "cat <<-E\n\t{{ x }}\n\tE\n",
    "the second here-document": "cat <<A; cat <<B\nA\n{{ x }}\nB\n",
    "backquotes": "echo `echo {{ x }}`",
    "arithmetic": "echo $((1 + {{ x }}))",
    "nested arithmetic": "echo $(( (1+(2)) + {{ x }} ))",
    "an expansion": "echo ${a:-{{ x }}}",
    "a comment": "true # {{ x }}",
    "after a backslash": "echo \\{{ x }}",
    "quotes within quotes": 'echo "$(echo "{{ x }}")"',
    "an end word of a here-document": "cat <<{{ x }}\n",
    "a loop inside quotes": 'echo "{% for i in [1] %}{{ x }}{% endfor %}"',
}


@pytest.mark.parametrize("where", MISPLACED)
def test_a_value_is_refused_where_quoting_does_not_protect_it(where: str) -> None:
    with pytest.raises(TemplateError):
        Script(MISPLACED[where]).render({"x": "v"})


PLACED = {
    "after quotes": "echo \"a\"'b'{{ x }}",
    "an assignment": "A={{ x }}; export A",
    "a command substitution": "a=$(echo {{ x }})",
    "a command substitution in quotes": 'a="$(echo {{ x }})"',
    "after a here-document": "cat <<EOF\n$HOME '\" `\nEOF\necho {{ x }}",
    "after a here-string": "cat <<<a {{ x }}",
    "a subshell": "(cd / && echo {{ x }})",
    "after an expansion": 'echo ${a#"}"} {{ x }}',
    "after a hash in a word": "echo a#b {{ x }}",
    "after a comment": "# it's\necho {{ x }}",
}


@pytest.mark.parametrize("where", PLACED)
def test_a_value_stands_where_quoting_protects_it(where: str) -> None:
    assert "'$(v)'" in Script(PLACED[where]).render({"x": "$(v)"})


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ x.__class__.__mro__ }}",
    "{{ x['__class__'] }}",
    "{{ x.format(1) }}",
    "{{ x.join([1]) }}",
    "{{ self }}",
    "{{ cycler }}",
    "{{ lipsum.__globals__ }}",
    "{{ namespace() }}",
    "{{ range.__self__ }}",
    "{{ x | attr('__class__') }}",
    "{{ x | map('upper') | list }}",
    "{{ x | safe }}",
    "{{ x | format(1) }}",
    "{{ x | center(1000000000) }}",
    "{{ x | _tide_bounded }}",
    "{{ _tide_budget }}",
    "{{ x | raw }}",
    "{{ ('a' | raw) }}",
    "{{ x * 1000000000 }}",
    "{{ 'x' * 1000000000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ x ~ x }}",
    "{{ x + x }}",
    "{{ '%99999999d' % 1 }}",
    "{{ 1 // 0 }}",
    "{{ missing }}",
    "{{ none }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(9999999999) %}{% endfor %}",
    "{% for a in range(90000) %}0123456789012345678901234567890123456789012345678901234567890123{% endfor %}",
    "{% macro m() %}{% endmacro %}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    "{% set a %}b{% endset %}",
    "{% block b %}{% endblock %}",
    "{% filter upper %}a{% endfilter %}",
    "{% call x() %}{% endcall %}",
    "{{ x",
    "{% if %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
]


@pytest.mark.parametrize("text", ESCAPES, ids=range(len(ESCAPES)))
def test_a_template_cannot_leave_its_sandbox(text: str) -> None:
    with pytest.raises(TemplateError):
        Script(text).render({"x": "v"})


def test_raw_prints_a_script_parameter_on_a_line_of_its_own_only() -> None:
    text = "echo 'a\n"
    assert Script("{{ s | raw }}\necho {{ x }}\n", frozenset({"s"})).render({"s": "ls 'a b'", "x": "$(v)"}) == (
        "ls 'a b'\necho '$(v)'\n"
    )
    for misplaced in ("echo {{ s | raw }}", "echo '{{ s | raw }}'", "cat <<EOF\n{{ s | raw }}\nEOF\n"):
        with pytest.raises(TemplateError):
            Script(misplaced, frozenset({"s"})).render({"s": text})


def test_values_are_words() -> None:
    assert quote(["a b", 1, True, 0.5]) == "'a b' 1 true 0.5"
    assert quote({"b": 1, "a": "'"}) == """'{"a": "'"'"'", "b": 1}'"""
    assert quote([]) == ""
    with pytest.raises(TypeError):
        quote(None)
    with pytest.raises(ValueError):
        quote(float("nan"))
