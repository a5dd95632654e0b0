"""A trial of the self-checks of a page, with right answers and with wrong ones."""


def audit(check) -> dict[str, float]:
    """Return the solutions' values, once each judges right and its neighbours do not."""
    found = {label: check._solved(label) for label in check._checks}
    for label, right in found.items():
        assert abs(right) < float("inf"), f"The solution of {label} gives {right}."
        told = check.judge(label, right)
        assert told == "Right.", f"The check of {label} refuses its own solution, {right}."
        for wrong in (1.25 * right or 1, 0.75 * right or -1):
            told = check.judge(label, wrong)
            assert told.startswith("Not"), f"The check of {label} takes {wrong} for {right}."
    return found
