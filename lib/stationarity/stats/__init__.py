"""What data say: estimates with intervals, trends, memory, displacements, invariance.

NumPy and SciPy, float64. Nothing here knows a run.
"""
