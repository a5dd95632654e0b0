"""How often the test of stationarity errs: its false alarms, and its power.

    python benchmarks/invariance.py [SERIES]

Series of 4,000 values, stationary from the first one on, by default 500 of each process.
The last two windows are compared, of 1,000 and 2,000 values. A slow part of the variance is
an Ornstein-Uhlenbeck process of autocorrelation time 50, 100 or 200; the rest is white
noise. The test promises at most 7 % of false alarms up to a time of 50. Power: the
same series with a slow drift that shifts the mean by half a standard deviation between the
two windows. Refused series are counted apart. Ten milliseconds a comparison.
"""

import sys

import numpy as np
import pandas as pd
from stationarity.chapters.ch07_watching_a_distribution_settle.simulated import two_scales
from stationarity.stats import invariance

LENGTH, SHIFT = 4000, 0.5
EARLY, LATE = invariance.growing_windows(LENGTH)[-2:]
SLOW = [(share, time) for share in (0.02, 0.05, 0.1) for time in (50, 100, 200)]


def processes(count: int) -> dict[str, np.ndarray]:
    """Return stationary series (count, LENGTH) of variance 1 by the name of their process."""
    lognormal = np.exp(two_scales(count, LENGTH, 1, 12.5, seed=2))
    found = {
        "white noise": two_scales(count, LENGTH, 0, 1),
        "one scale, time 12.5": two_scales(count, LENGTH, 1, 12.5, seed=1),
        "lognormal, time 12.5": lognormal / np.sqrt((np.e - 1) * np.e),
    }
    for seed, (share, time) in enumerate(SLOW, start=3):
        name = f"slow part {share:.0%}, time {time}"
        found[name] = two_scales(count, LENGTH, share, time, seed)
    return found


def rates(series: np.ndarray) -> tuple[float, float]:
    """Return which share is said to differ, of those judged, and which share is refused."""
    said = [invariance.judge(one[EARLY], one[LATE])["verdict"] for one in series]
    refused = said.count("undecided")
    return said.count("differ") / max(len(said) - refused, 1), refused / len(said)


def main() -> None:
    """Print a row for each process."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    late = (LATE.start + LATE.stop - EARLY.start - EARLY.stop) / 2  # between the centres
    drift, rows = np.arange(LENGTH) * (SHIFT / late), {}
    for name, series in processes(count).items():
        (alarms, refused), (power, _) = rates(series), rates(series + drift)
        rows[name] = {"false alarms": alarms, "power": power, "refused": refused}
    table = pd.DataFrame.from_dict(rows, orient="index").map("{:.1%}".format)
    print(f"{count} series of each process, level {invariance.LEVEL:.0%}\n{table}")


if __name__ == "__main__":
    main()
