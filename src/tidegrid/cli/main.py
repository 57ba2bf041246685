"""`tide`: puts the verbs together and turns every error into a message and an exit status."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tidegrid import __version__
from tidegrid.cli import (
    accounts,
    context,
    files,
    incidents,
    jobs,
    launching,
    money,
    network,
    replay,
    secret,
    servers,
    simulate,
    site_accounts,
    steering,
    submit,
    sweep,
    testbed,
    trace,
    watch,
)
from tidegrid.domain.errors import TideError

app = typer.Typer(
    name="tide",
    help="Many supercomputers, one network: submit, watch, fetch, pay.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for module in (launching, network, incidents, servers, steering, replay, submit, jobs, watch, files, money, accounts, site_accounts, secret, testbed, trace, sweep, simulate):
    module.register(app)

INTERRUPTED = 130


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tide {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    url: Annotated[str, typer.Option(help="The server's address.", metavar="URL", envvar="TIDE_URL", show_envvar=True)] = "",
    token: Annotated[
        str, typer.Option(help="Better in TIDE_TOKEN: others see a command line.", metavar="TOKEN", show_default=False)
    ] = "",
    home: Annotated[
        Path | None, typer.Option(help="Directory of a server on this machine [TIDE_HOME, ~/.tidegrid].", metavar="DIR")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    context.options.url, context.options.token, context.options.home = url, token, home


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit status. Never a traceback."""
    as_json = "--json" in arguments
    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(arguments), prog_name="tide", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) and not isinstance(status, bool) else 0
    except TideError as error:
        return _tell(error.code, error.message, error.hint, error.details, error.exit_status, as_json)
    except typer.TyperException as error:
        where = getattr(error, "ctx", None)
        hint = f"see `{where.command_path} --help`" if where is not None else "see `tide --help`"
        return _tell("usage", error.format_message(), hint, {}, error.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        context.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except TimeoutError as error:
        return _tell("wait.timeout", str(error), "it goes on; wait again, or see `tide show`", {}, 1, as_json)
    except OSError as error:
        return _tell("file.failed", _os_text(error), "", {}, 2, as_json)
    except Exception as error:  # noqa: BLE001 - the edge: nothing may pass
        return _unexpected(error, as_json)


def _os_text(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return where + (error.strerror or str(error))


def _tell(code: str, message: str, hint: str, details: dict[str, object], status: int, as_json: bool) -> int:
    if as_json:
        body = {"error": {"code": code, "message": message, "hint": hint, "details": details, "exit_status": status}}
        context.note(json.dumps(body, ensure_ascii=False, default=str))
        return status
    from tidegrid.cli import show

    show.error(code, message, hint, details)
    return status


def _unexpected(error: Exception, as_json: bool) -> int:
    import traceback

    handle, name = tempfile.mkstemp(prefix="tide-error-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        traceback.print_exception(error, file=file)
    return _tell("internal.error", f"tide failed: {type(error).__name__}: {error}",
                 f"this is a defect; what happened is in {name}", {"log": name}, 1, as_json)  # fmt: skip


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
