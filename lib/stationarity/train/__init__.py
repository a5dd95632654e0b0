"""Training: the loop, how it computes and measures, and loops of small nets."""
