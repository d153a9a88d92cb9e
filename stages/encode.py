"""`mcr encode`: shards become embedding stores through a frozen space."""

from pathlib import Path

from stages.options import Names, ParamsFile


def encode(names: Names, params_file: ParamsFile = Path("params.yaml")) -> None:
    """Encode corpora, one job (space, corpus) after the other.

    A killed run continues at the last committed part; only stale parts are encoded, and the reason is logged.

    Example: mcr encode clip-photos clap-sounds
    """
    from pipeline.encode.job import EncodeSettings, encode_corpus
    from pipeline.params.load import load_params
    from pipeline.spaces import load_space
    from stages.context import EMBEDDINGS, SHARDS, ConsoleProgress, account, prepare_torch
    from stages.options import pick
    from stages.specs import space_spec

    params = load_params(params_file)
    jobs = pick(params.encode, names, "encode job")
    device = prepare_torch(params)
    for name, job in jobs:
        settings = params.spaces[job.space]
        spec = space_spec(settings)
        progress = ConsoleProgress()
        stores = encode_corpus(
            load_space(spec, device),
            job.space,
            spec,
            SHARDS / job.corpus,
            EMBEDDINGS / job.space / job.corpus,
            EncodeSettings(settings.batch_size, params.run.workers, params.limits.max_rejected),
            progress,
        )
        for modality, (manifest, computed) in stores.items():
            spent = progress.summary(f"encode {job.space} {modality}")
            account("encode", f"{name} {modality}", manifest, computed, spent)
