"""The command line: ``stationarity list | run | record | verify | doctor | report``."""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable

from .errors import UsageError  # all else takes time to import, and waits for its command

ENDS = (signal.SIGINT, signal.SIGTERM)
_HEARD = []  # when one of them interrupted, in seconds; empty while modules are imported


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its status: 2 for bad input, 130 after Ctrl-C, 143 SIGTERM."""
    heard = [number for number in ENDS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in heard}
    _HEARD.clear()
    from .runs.progress import Unfailing

    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = outputs = [*map(Unfailing, streams)]
    with contextlib.suppress(AttributeError):  # a terminal may lack Greek letters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            options = _parser().parse_args(arguments)
            status = options.command(options) or 0
        except SystemExit as told:  # argparse has shown the help, or what is wrong
            status = told.code
        sys.stdout.flush()
        if error := sys.stdout.error:
            if isinstance(error, BrokenPipeError):  # its reader has ended, as ``head`` does
                return 128 + signal.SIGPIPE
            said = f"What is printed here cannot be written ({error.strerror})"
            raise UsageError(f"{said}: make room for it, or send it elsewhere.")
        return status
    except UsageError as error:
        sys.stderr.write(f"stationarity: {error}\n")
        return 2
    except KeyboardInterrupt as interrupt:
        before = dict.fromkeys(heard, signal.SIG_IGN)  # nothing shall cut the end
        return 128 + interrupt.args[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for output in outputs:
            output.flush()
            if output.error:  # else the end of the process would try again
                output.close()
        sys.stdout, sys.stderr = streams


def _interrupt(number, _):
    """Raise KeyboardInterrupt, but once in five seconds: torchrun and schedulers repeat it."""
    if not _HEARD:  # a module that is being imported may lose an exception
        os._exit(128 + number)
    if time.monotonic() > _HEARD[-1] + 5:
        _HEARD.append(time.monotonic())
        raise KeyboardInterrupt(number)


def _parser() -> argparse.ArgumentParser:
    from .book import command as book
    from .watching import command as watching

    parser = argparse.ArgumentParser(prog="stationarity", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable, text: str) -> argparse.ArgumentParser:
        add = commands.add_parser(function.__name__.strip("_"), help=text)
        add.set_defaults(command=function)
        return add

    add = command(_run, "run an experiment, or go on with it")
    add.add_argument("name", help="the experiment")
    add.add_argument("--scale", default="classroom")
    add.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    add.add_argument("--data-root", help="folder of the data (else STATIONARITY_DATA)")
    add.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    add.add_argument("--devices", type=int, default=1, help="GPUs that share a training run")
    add.add_argument("--other-code", action="store_true", help="go on though the code changed")
    book.add(command)
    watching.add(command)
    return parser


def _run(options) -> None:
    from .launch import distributed, run

    _HEARD.append(-5.0)
    if wrong := [pair for pair in options.settings if "=" not in pair]:
        raise UsageError(f"--set takes KEY=VALUE, not {wrong[0]!r}.")
    given = {key: value for key, value in vars(options).items() if key != "command"}
    result = run(**given | {"settings": dict(pair.split("=", 1) for pair in given["settings"])})
    if distributed.started() == 1 or distributed.number("RANK", 0) == 0:
        print(f"{result.folder}: {result.info['status']}, {result.info['wall_seconds']:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
