"""A made-up method, as somebody else's package would bring it: all that the program has to know of it."""

from pipeline.methods import Method

NEAREST = Method(
    "nearest",
    "Nearest neighbours",
    "Each sample of the first memory with the sample of the second that shares its nearest caption.",
    pairs="drawn",
    retrieve_settings="nearest.pairs:NearestPairsSettings",
    train_settings="nearest.objective:NearestTrainSettings",
    pair_maker="nearest.pairs:NearestPairs",
    objective="nearest.objective:Nearest",
    sets=("hops",),
)
