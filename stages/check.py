"""`mcr check`: is params.yaml right?"""

from pathlib import Path

from stages.options import ParamsFile


def check(params_file: ParamsFile = Path("params.yaml")) -> None:
    """Check params.yaml and list everything that is wrong with it, before any work.

    Example: mcr check --params presets/demo-small.yaml
    """
    from pipeline.params.load import load_params

    params = load_params(params_file)
    print(
        f"{params_file} is valid: {len(params.corpora)} corpora, {len(params.spaces)} spaces, "
        f"{len(params.encode)} encode jobs, {len(params.connections)} connections, {len(params.evaluate.tasks)} tasks."
    )
