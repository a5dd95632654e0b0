"""What data say: estimates with intervals, displacements, modes.

NumPy and SciPy, float64. Nothing here knows a run.
"""
