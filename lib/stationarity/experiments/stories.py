"""Two stories about training (chapter 1)."""
from .settings import NoisyQuadratic, Training

STORIES = {
    # SGD at three constant rates on a quadratic with gradient noise.
    "noisy_quadratic": {
        "classroom": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4, 0.1, 0.025),
            steps=2000, trajectories=5000, start=3.0,
        ),
        "single-gpu": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4, 0.1, 0.025),
            steps=8000, trajectories=20000, start=3.0,
        ),
        "paper": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4, 0.1, 0.025),
            steps=8000, trajectories=100000, start=3.0,
        ),
    },
    # The same with a learning rate that drops twice.
    "noisy_quadratic_drops": {
        "classroom": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4,),
            steps=4000, trajectories=5000, start=3.0, drops=(500, 1500),
        ),
        "single-gpu": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4,),
            steps=4000, trajectories=20000, start=3.0, drops=(500, 1500),
        ),
        "paper": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4,),
            steps=4000, trajectories=100000, start=3.0, drops=(500, 1500),
        ),
    },
    # Full-batch descent, the control that does converge (chapter 3, too).
    "full_batch": {
        "classroom": Training(
            dataset="digits", model="mlp", hidden=(32,), epochs=4000,
            batch_size=1437, learning_rate=0.5, weight_decay=2e-3,
            precision="float64", measure_every=100, measure_on="partition",
            sharpness_batches=1, threads=1,
        ),
        "single-gpu": Training(
            dataset="cifar10", examples=5000, model="mlp", hidden=(256,),
            epochs=20000, batch_size=5000, learning_rate=0.1, weight_decay=2e-3,
            precision="float64", measure_every=500, measure_on="partition",
            sharpness_batches=1,
        ),
        "paper": Training(
            dataset="cifar10", model="mlp", hidden=(1024,), epochs=100000,
            batch_size=50000, learning_rate=0.1, weight_decay=2e-3,
            precision="float64", measure_every=1000, measure_on="partition",
            sharpness_batches=1,
        ),
    },
}
