"""`mcr check`: is params.yaml right?"""

from pathlib import Path

from pipeline.errors import UserError
from stages.options import ParamsFile
from stages.printing import say
from stages.project import ROOT

STAGES = ROOT / "dvc.yaml"


def check(params_file: ParamsFile = Path("params.yaml")) -> None:
    """Check params.yaml and list everything that is wrong with it, before any work.

    Example: mcr check --params presets/exmcr.yaml
    """
    from pipeline.files.plain_yaml import read_yaml
    from pipeline.params.load import load_params
    from pipeline.spaces import check_known, prepared_for
    from stages.specs import space_spec

    params = load_params(params_file)
    for space in params.spaces.values():
        check_known(space_spec(space))
    written = read_yaml(params_file)
    if missing := _named_by_dvc() - set(written.content):
        raise UserError(
            f"{params_file} has no {', '.join(sorted(missing))}, but dvc.yaml depends on it.",
            "Add it with its default: see `mcr schema`, or the files in presets/.",
        )
    for job in params.encode.values():
        if job.options:
            prepared_for(space_spec(params.spaces[job.space]), job.options)
    if params_file.absolute() == Path("params.yaml").absolute() and Path(".dvc").is_dir():
        _ask_dvc()
    if written.aliases:
        named = ", ".join(f"line {line}: *{name}" for line, name in written.aliases[:3])
        say(
            f"note: {params_file} repeats settings by {len(written.aliases)} YAML aliases ({named}); a value that one of "
            "them stands for cannot be changed by itself with `dvc exp run -S`: write the values out."
        )
    for name, place in params.evaluate.headlines.items():
        if (task := place.partition("/")[0]) not in params.evaluate.tasks:
            say(f"note: the headline {name} is of the task {task}, which is not in evaluate.tasks: it will be missing.")
    say(
        f"{params_file} is valid: {len(params.corpora)} corpora, {len(params.spaces)} spaces, "
        f"{len(params.encode)} encode jobs, {len(params.connections)} connections, {len(params.evaluate.tasks)} tasks."
    )


def _ask_dvc() -> None:
    """Let DVC resolve what its stages depend on, before any of them runs."""
    from pipeline.doctor.finding import FAIL
    from pipeline.doctor.links import harmful_links
    from pipeline.doctor.storage import dvc
    from stages.context import ANNOTATIONS, PLUGINS, RESULTS

    found = [*dvc(Path("."), [*RESULTS, PLUGINS]).findings, *harmful_links(Path("."), RESULTS, [ANNOTATIONS, PLUGINS])]
    if failed := [finding for finding in found if finding.level == FAIL]:
        listed = "\n  ".join(finding.said for finding in failed)
        raise UserError(f"`dvc repro` cannot run here:\n  {listed}", failed[0].hint)


def _named_by_dvc() -> set[str]:
    """Top-level keys of params.yaml that a stage depends on: DVC knows no defaults."""
    import yaml

    stages = yaml.safe_load(STAGES.read_text())["stages"].values()
    named = [name for stage in stages for name in stage.get("do", stage).get("params", [])]
    return {name.partition(".")[0] for name in named}
