"""The findings of the pages, listed with their outcomes where the tests have run."""


def pytest_terminal_summary(terminalreporter):
    passed = terminalreporter.getreports("passed")
    found = [
        pair for report in passed for pair in report.user_properties if pair[0] == "finding"
    ]
    if found:
        terminalreporter.section("findings of the pages, at the tests' small settings")
    for _, line in found:
        terminalreporter.line(line)
