"""The command ``stationarity report RUN``. What takes time to import waits for it."""

from collections.abc import Callable


def add(command: Callable) -> None:
    """Add it to the command line, by its ``command(function, text)``."""
    parser = command(report, "say what a watched training shows, and write it as a page")
    parser.add_argument("run", help="a run's folder, or its name as `list` prints it")
    parser.add_argument(
        "--html", metavar="PATH", help="the page (default: in the run's folder)"
    )
    parser.add_argument("--json", action="store_true", help="print a dictionary, write no page")
    parser.add_argument("--csv", metavar="PATH", help="write all that was watched, as a table")
    parser.add_argument("--jointly", action="store_true", help="intervals that hold together")


def report(options) -> None:
    """Print the report of a run, write its page, and the table if one is asked for."""
    import json

    from ..book import results
    from . import report as reports

    run = results.named(options.run)
    content = reports.report(run, jointly=options.jointly)
    print(json.dumps(content, indent=1) if options.json else reports.text(content))
    if options.csv:
        reports.write_table(run, options.csv)
    if options.html or not options.json:
        path = reports.write(
            run, options.html or run.folder / "report.html", jointly=options.jointly
        )
        if not options.json:
            print(f"\nThe page is {path}")
