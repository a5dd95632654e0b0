"""Figures of the book: one function a figure, one style.

Each function takes runs or tables, returns a matplotlib figure and computes
nothing that prose could state: numbers come from the measuring modules.
"""
