"""How often the test of stationarity errs: its false alarms, and its power.

    python benchmarks/invariance.py [SERIES]

By default 500 series of each process are compared, in windows of 1,000 and 2,000 values:
white noise, one time scale, and a slow part of the variance whose memory is a twentieth, a
tenth or a fifth of the shorter window. The test promises at most 7 % of false alarms up to
a twentieth. ``alarms``: the same series with a slow drift that shifts the mean by half a
standard deviation between the two windows. Ten milliseconds a comparison.
"""

import math
import sys

from stationarity.chapters.ch07_watching_a_distribution_settle import simulated

SLOW = [(share, per) for share in (0.02, 0.05, 0.1) for per in (20, 10, 5)]

if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    table = simulated.calibration(count, processes=[(0, math.inf), (1, 80), *SLOW])
    print(table.to_string(index=False, float_format="{:.3f}".format))
