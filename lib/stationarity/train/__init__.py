"""Training: the loop, how it computes and measures, and ensembles of small nets."""
