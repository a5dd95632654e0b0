"""How often the report of a watched training errs, and how often it sees what is there.

    python benchmarks/report.py [SEEDS]

By default 200 trainings of each process with a known answer are judged, each question alone
at 95 %. A minute.
"""

import sys

from stationarity.watching import simulated

if __name__ == "__main__":
    table = simulated.calibration(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
    print(table.to_string(index=False, float_format="{:.3f}".format))
