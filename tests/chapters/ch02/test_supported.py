"""Each case of the table of what is supported comes out as the table expects."""

import pytest
from stationarity.chapters.ch02_what_to_measure import supported

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("case", supported.CASES, ids=lambda case: case.name)
def test_each_case_is_measured_right_or_refused(case):
    row = supported.outcomes(case)
    assert {name: row[name] for name in supported.ALL} == {
        name: "refused" if name in case.refused else "right" for name in supported.ALL
    }
    assert bool(case.refused) == (": " in row["the error says"])  # the fault, and the remedy


def test_a_wrong_measurement_is_called_wrong(monkeypatch):
    exact = supported.truths
    monkeypatch.setattr(
        supported, "truths", lambda case: {name: 2 * v for name, v in exact(case).items()}
    )
    row = supported.outcomes(supported.CASES[0])
    assert {row[name] for name in supported.ALL} == {"wrong by 5e-01"}
