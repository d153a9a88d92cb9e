"""`mcr schema`: the JSON schema of params.yaml, for completion in editors."""

from stages.printing import say_lines


def schema() -> None:
    """Print the JSON schema of params.yaml.

    Example: mcr schema > presets/params.schema.json
    """
    import json

    from pipeline.params.model import Params

    say_lines(json.dumps(Params.model_json_schema(), indent=1))
