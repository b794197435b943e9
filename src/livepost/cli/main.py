"""The `livepost` command: pick a sub-command, turn errors into a sentence and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

from livepost import __version__
from livepost.cli.exit_code import ExitCode, code_of
from livepost.cli.talk import print_data, say, say_error
from livepost.errors import ConfigurationError, LivepostError

_HELP = """\
usage: livepost COMMAND [OPTIONS]

Deliver records to a REST API over connections that stay live.

commands:
  send FILE... --to URL   deliver every record of the files, then exit
  resume DIR              go on with a run that was stopped or has crashed
  retry DIR               send again what was rejected or is in doubt
  runs                    list the runs
  show DIR                how a run stands
  probe URL               what to know of a server before a large run
  serve                   a practice server
  demo                    deliver samples to a practice server, and compare

  livepost COMMAND --help tells the options of each.
  livepost --version      the version"""

_COMMANDS = ("send", "resume", "retry", "runs", "show", "probe", "serve", "demo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        return _run(sys.argv[1:] if arguments is None else list(arguments))
    except LivepostError as error:
        say_error(error)
        return code_of(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    # Nothing is imported before it is known to be needed: --version takes 30 ms.
    if not arguments:
        say(_HELP)
        return ExitCode.USAGE
    if arguments[0] in ("--version", "-V"):
        print_data(f"livepost {__version__}")
        return 0
    if arguments[0] in ("--help", "-h", "help"):
        print_data(_HELP)
        return 0
    return _command(arguments[0], arguments[1:])


def _command(name: str, arguments: Sequence[str]) -> int:
    # Afterwards, because in the middle of an import SIGINT may be lost, in a callback of the import system,
    # or end the interpreter with SIGSEGV, while msgspec makes a class.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        command = _main_of(name)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return command(arguments)


def _main_of(name: str) -> Callable[[Sequence[str]], int]:
    if name == "send":
        from livepost.cli import send

        return send.main
    if name == "resume":
        from livepost.cli import resume

        return resume.main
    if name == "retry":
        from livepost.cli import retry

        return retry.main
    if name in ("runs", "show"):
        from livepost.cli import runs

        return runs.list_main if name == "runs" else runs.show_main
    if name == "probe":
        from livepost.cli import probe

        return probe.main
    if name == "serve":
        from livepost.cli import serve

        return serve.main
    if name == "demo":
        from livepost.cli import demo

        return demo.main
    import difflib

    close = difflib.get_close_matches(name, _COMMANDS, n=1)
    suggestion = f"; did you mean {close[0]}?" if close else ""
    raise ConfigurationError(f"there is no command {name}{suggestion}", "see livepost --help")
