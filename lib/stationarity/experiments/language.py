"""WikiText-103 + Transformer-XL (chapter 4): the second experiment of the abstract."""
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
            divisor=2, segment=128, memory=128, epochs=50, steps_per_epoch=400,
            batch_size=60, learning_rate=0.0005, schedule="stages", drops=(30, 40),
            measure_batches=100, measure_context=4, sharpness_batches=4,
        ),
        "paper": LanguageTraining(
            dataset="wikitext103", layers=12, width=410, heads=10, head_width=41,
            inner_width=2100, dropout=0.1, cutoffs=(20000, 40000, 200000), segment=150,
            memory=150, epochs=400, steps_per_epoch=500, batch_size=60,
            learning_rate=0.00025, measure_batches=800, measure_context=2,
            sharpness_batches=20,
        ),
    },
}
