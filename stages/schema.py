"""`mcr schema`: the JSON schema of params.yaml, for completion in editors."""


def schema() -> None:
    """Print the JSON schema of params.yaml.

    Example: mcr schema > presets/params.schema.json
    """
    import json

    from pipeline.params.model import Params

    print(json.dumps(Params.model_json_schema(), indent=1))
