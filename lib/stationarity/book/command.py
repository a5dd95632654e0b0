"""The commands ``list | record | verify | doctor``. What takes time to import waits."""

from collections.abc import Callable

from ..errors import known_name


def add(command: Callable) -> None:
    """Add them to the command line, by its ``command(function, text)``."""
    command(_list, "list experiments, scales and runs")
    parser = command(record, "copy a complete run into book/results")
    parser.add_argument("run", help="a run's folder, or its name as `list` prints it")
    parser.add_argument("--note", help="what the settings do not say, such as of the data")
    parser = command(verify, "compute the verdict on every claim, or on some")
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="such as A3 (default: all)")
    parser = command(doctor, "check versions, device, folders and data")
    parser.add_argument("--data-root", help="folder of the data (else STATIONARITY_DATA)")


def _list(options) -> None:
    from . import results

    print(results.listing())


def record(options) -> None:
    """Copy a run into the book's results."""
    from . import results

    print(f"recorded in {results.record(results.named(options.run), options.note)}")


def verify(options) -> None:
    """Print what the runs say of every claim, or of those that are named."""
    from . import claims, verdicts

    ledger = {claim.name: claim for claim in claims.read()}
    chosen = [known_name(name, ledger, "claim") for name in options.claims or ledger]
    print(verdicts.plain_report([*map(ledger.get, chosen)]))


def doctor(options) -> int:
    """Print what is here; return 1 where something is wrong."""
    from . import doctor

    return doctor.report(options.data_root)
