"""WikiText-103 + Transformer-XL (chapter 4): the second experiment of the abstract.

The authors' code measures on 800 minibatches at every 500 steps; here ``paper`` measures
on 80 at every 5,000, so that it takes at most a quarter of the training's time.
"""
from .settings import LanguageTraining

LANGUAGE = {
    "wikitext_transformer_xl": {
        "classroom": LanguageTraining(
            dataset="python-reference", layers=2, width=32, heads=2, head_width=16,
            inner_width=64, segment=32, memory=32, epochs=27, steps_per_epoch=100,
            batch_size=16, learning_rate=0.01, schedule="stages", drops=(11, 19),
            precision="float32", measure_batches=32, measure_context=2,
            sharpness_batches=2, sharpness_products=10, observe_every=2, threads=1,
        ),
        "two-cores": LanguageTraining(
            dataset="wikitext103", layers=2, width=64, heads=4, head_width=16,
            inner_width=256, dropout=0.1, cutoffs=(2000, 8000), divisor=2, segment=32,
            memory=32, epochs=60, steps_per_epoch=400, batch_size=16, learning_rate=0.001,
            schedule="stages", drops=(30, 45), precision="float32", measure_batches=60,
            measure_context=2, sharpness_batches=2,
        ),
        "single-gpu": LanguageTraining(
            dataset="wikitext103", tokens=10_000_000, layers=4, width=256, heads=8,
            head_width=32, inner_width=1024, dropout=0.1, cutoffs=(2000, 10000),
            divisor=2, segment=128, memory=128, epochs=100, steps_per_epoch=400,
            batch_size=60, learning_rate=0.0005, schedule="stages", drops=(40, 70),
            measure_every=5, measure_batches=30, measure_context=2, sharpness_batches=1,
            sharpness_products=8, observe_every=20,
        ),
        "paper": LanguageTraining(
            dataset="wikitext103", layers=12, width=410, heads=10, head_width=41,
            inner_width=2100, dropout=0.1, cutoffs=(20000, 40000, 200000), segment=150,
            memory=150, epochs=400, steps_per_epoch=500, batch_size=60,
            learning_rate=0.00025, measure_every=10, measure_batches=80,
            measure_context=2, sharpness_batches=2, sharpness_products=10,
            observe_every=50,
        ),
    },
}
