"""`mcr shard`: raw corpora become reproducible WebDataset shards."""

from pathlib import Path

from stages.options import BreakLock, Names, ParamsFile


def shard(names: Names, params_file: ParamsFile = Path("params.yaml"), break_lock: BreakLock = False) -> None:
    """Write corpora as shards.

    New samples go into new shards; a shard is rewritten only if its samples changed.

    Example: mcr shard photos captions
    """
    from pipeline.params.load import load_params
    from pipeline.shard.adopted import adopt_tars
    from pipeline.shard.build import build_shards, settings_of
    from stages.context import SHARDS, ConsoleProgress, account, break_locks
    from stages.engines import executing
    from stages.options import pick

    params = load_params(params_file)
    with executing(params, "") as execution:
        for name, corpus in pick(params.corpora, names, "corpus"):
            break_locks(break_lock, SHARDS / name)
            settings, options = settings_of(corpus, params.limits.max_rejected)
            if corpus.adopt:
                share, keep = settings.max_rejected, settings.keep_repeated
                manifest, computed = adopt_tars(corpus.places, SHARDS / name, options, share, keep, ConsoleProgress())
            else:
                address = params.storage.of("shards", name)
                manifest, computed = build_shards(
                    corpus.places, SHARDS / name, settings, ConsoleProgress(), options, execution, address
                )
            account("shard", name, manifest, computed)
