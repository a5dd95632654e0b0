"""Each case of the table of what is supported comes out as the table expects."""

import pytest
from stationarity.chapters.ch02_what_to_measure import supported

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("case", supported.CASES, ids=lambda case: case.name)
def test_each_case_comes_out_as_it_says(case):
    row = supported.outcomes(case)
    assert {name: row[name].partition(" ")[0] for name in supported.ALL} == {
        name: "refused" if name in case.refused else "wrong" if name in case.unseen else "right"
        for name in supported.ALL
    }
    fault, _, remedy = row["the error says"].partition(": ")
    assert bool(case.refused) == bool(fault) == bool(remedy)


def test_a_wrong_measurement_is_called_wrong(monkeypatch):
    exact = supported.truths
    monkeypatch.setattr(
        supported, "truths", lambda case: {name: 2 * v for name, v in exact(case).items()}
    )
    row = supported.outcomes(supported.CASES[0])
    assert {row[name] for name in supported.ALL} == {"wrong by 5e-01"}
