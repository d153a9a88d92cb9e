"""Whether a part that earlier decoders made is what they would make now."""

from pathlib import Path

from pipeline.decode.earlier import decoded_otherwise
from pipeline.modalities import modality_of
from pipeline.store.manifest import Part
from pipeline.store.shards import read_shard, verify_shard


def outdated(folder: Path, shard: Part, modality: str, part: Part) -> str:
    """Name of a sample of `shard` in `folder` that is decoded otherwise now, in words; empty if there is none.

    Args:
        folder: Of the shards.
        shard: What the part was made from.
        modality: What of its samples was decoded.
        part: What was made.
    """
    refused = {failure.key for failure in part.rejected if failure.step == "decode"}
    lost = {failure.key for failure in part.rejected} - refused
    for sample in read_shard(verify_shard(folder, shard)):
        own = (content for extension, content in sample.members.items() if modality_of(extension) == modality)
        payload = next(own, None)
        if payload is None or sample.key in lost:
            continue
        if decoded_otherwise(modality, payload, sample.key in refused):
            return f"the sample {sample.key} is decoded otherwise now (docs/formats-read.md says what changed)"
    return ""
