"""The numbers without units of trainings: their names, and what each is.

Source: our section "Numbers without units" of "What to measure".
"""

NUMBERS = {
    "memories": "memories of the weights in the stage, ηλT/(1−β)",
    "angular_step": "turn of normalised weights a step, in the long run, √(2ηλ/(1−β))",
    "curvature": "top curvature over the largest stable one, ηh₁/(2(1+β))",
    "noise_over_signal": "noise in the naive square over the signal, σ²/(M‖∇L‖²)",
    "noise_scale": "gradient noise scale over the batch size, σ²/‖∇L‖²",
    "order": "steps of an epoch over those of momentum's memory",
    "second_moment": "steps of the stage over those of Adam's second moment, (1−β₂)T",
    "clip": "clip over the norm of a minibatch gradient",
    "loss_left": "loss over that of guessing",
    "examples": "training examples, or tokens, over parameters",
}
