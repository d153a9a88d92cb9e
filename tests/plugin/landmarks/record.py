"""A made-up method that trains nothing and has no projectors: a sample is told by its cosines with the captions."""

from pipeline.methods import Method

LANDMARKS = Method(
    "landmarks",
    "Landmarks",
    "Relative representations: cosines with the overlapping modality are the coordinates of the connected space.",
    pairs="none",
    retrieve_settings="landmarks.pairs:LandmarkPairsSettings",
    train_settings="landmarks.space:LandmarkTrainSettings",
    pair_maker="landmarks.pairs:LandmarkPairs",
    objective="",
    trainer="landmarks.space:keep",
    connected="landmarks.space:Landmarks",
    sets=("overlap",),
)
