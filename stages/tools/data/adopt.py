"""`mcr import`: what others made, embeddings and projectors, in the forms of this project."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError, choice
from stages.options import BreakLock, ParamsFile
from stages.printing import say, say_lines

if TYPE_CHECKING:
    from pipeline.adopt.projectors import NamedSpace
    from pipeline.params.model import Params

app = typer.Typer(help="Import embeddings and projectors that others made.", no_args_is_help=True)


@app.command()
def embeddings(
    folder: Annotated[Path, typer.Argument(help="A folder that clip-retrieval wrote.", show_default=False)],
    space: Annotated[str, typer.Option(help="The space of params.yaml that made them.", show_default=False)],
    corpus: Annotated[str, typer.Option(help="Name for the corpus.", show_default=False)],
    modality: Annotated[
        str, typer.Option(help="text, image, audio or point; by default taken from img_emb or text_emb.")
    ] = "",
    vectors: Annotated[str, typer.Option(help="Folder of the .npy files in it, if not img_emb or text_emb.")] = "",
    key_column: Annotated[str, typer.Option(help="Metadata column that identifies samples.")] = "",
    params_file: ParamsFile = Path("params.yaml"),
    break_lock: BreakLock = False,
) -> None:
    """Make embedding stores from .npy arrays with Parquet metadata, as clip-retrieval writes them.

    The stores are marked unverified, because their embeddings cannot be recomputed here. They are used like others.

    Examples:

      mcr import embeddings downloads/laion --space clip --corpus laion

      mcr import embeddings downloads/sounds --space clap --corpus sounds --modality audio --vectors audio_emb
    """
    from dataclasses import asdict

    from pipeline.adopt.npy_folder import FOLDERS, find_blocks, import_embeddings
    from pipeline.keys import key_of_file
    from pipeline.modalities import MODALITIES
    from pipeline.names import check_name
    from pipeline.params.load import load_params
    from pipeline.spaces import load_space
    from stages.context import EMBEDDINGS, ConsoleProgress, account, break_locks
    from stages.options import pick
    from stages.specs import space_spec

    check_name(corpus, "corpus")
    if modality and modality not in MODALITIES:
        raise UserError(f"There is no modality {modality!r}.", choice(modality, MODALITIES))
    if vectors and not modality:
        raise UserError(f"The modality of the embeddings in {vectors} is unknown.", "Say it with --modality.")
    found = {modality: vectors or FOLDERS.get(modality, "")} if modality else FOLDERS
    found = {name: place for name, place in found.items() if place and (folder / place).is_dir()}
    if not found:
        raise UserError(
            f"{folder} holds no {' or '.join(FOLDERS.values())}.", "Name the folder of .npy files with --vectors."
        )
    params = load_params(params_file)
    [(_, settings)] = pick(params.spaces, [space], "space")
    spec = space_spec(settings)
    frozen = load_space(spec)
    for name, place in found.items():
        if name not in frozen.modalities:
            raise UserError(f"Space {space!r} does not embed {name}.", f"It embeds {', '.join(frozen.modalities)}.")
        described: dict[str, object] = {
            "space": space,
            "spec": asdict(spec),
            "modalities": list(frozen.modalities),
            "dimension": frozen.dimension,
            "modality": name,
            "batch_size": settings.batch_size,
        }
        output = EMBEDDINGS / space / corpus / name
        break_locks(break_lock, output)
        manifest, computed = import_embeddings(
            find_blocks(folder, place, key_column, key_of_file),
            output,
            described,
            params.limits.max_rejected,
            ConsoleProgress(),
        )
        account("import", f"{space}/{corpus} {name}", manifest, computed)


@app.command()
def projectors(
    files: Annotated[list[Path], typer.Argument(help="clap_clip.pt, ulip_clip.pt, ex_clap.pt, ex_ulip.pt.")],
    name: Annotated[str, typer.Option(help="Name for the connection.", show_default=False)],
    layout: Annotated[str, typer.Option(help="Layout of a renamed file, such as clap_clip.")] = "",
    clip: Annotated[str, typer.Option(help="The space of params.yaml that is CLIP.")] = "clip",
    clap: Annotated[str, typer.Option(help="The space of params.yaml that is CLAP.")] = "clap",
    ulip: Annotated[str, typer.Option(help="The space of params.yaml that is ULIP.")] = "ulip",
    params_file: ParamsFile = Path("params.yaml"),
    break_lock: BreakLock = False,
) -> None:
    """Make a connected space from projectors that the authors of C-MCR and Ex-MCR published.

    Prints what to add to params.yaml, so that `dvc repro` evaluates it like any other connection. Leaves of Ex-MCR that are imported together become one connection.

    Examples:

      mcr import projectors checkpoints/clap_clip.pt --name published

      mcr import projectors checkpoints/ex_clap.pt checkpoints/ex_ulip.pt --name published_ex
    """
    import yaml

    from pipeline.adopt.projectors import entry, import_projectors
    from pipeline.connect.published import published_as
    from pipeline.names import check_name
    from pipeline.params.load import load_params
    from pipeline.store.lock import locked
    from stages.context import MODELS, break_locks

    check_name(name, "connection")
    by_layout = _layouts(files, layout)
    params = load_params(params_file)
    if name in params.connections and params.connections[name].record.sets:
        raise UserError(
            f"params.yaml has a connection {name!r}, which `dvc repro` trains.", "Give the import another name."
        )
    spaces = _roles(params, by_layout, {"clip": clip, "clap": clap, "ulip": ulip})
    break_locks(break_lock, MODELS / name)
    with locked(MODELS / name):
        config = import_projectors(by_layout, spaces, MODELS / name, name)
    heads = ", ".join(
        f"{space} {spec.kind} {spec.input} -> {spec.dimension}" for space, spec in config.projectors.items()
    )
    say(f'import {name}: {heads} in {MODELS / name}; open it with ConnectedSpace.load("{MODELS / name}")')
    for layout_name, path in by_layout.items():
        same = published_as(path)
        say(
            f"import {name}: {path} is {'the published file' if same else f'laid out as {layout_name}.pt, but not the published file'}"
        )
    if name not in params.connections:
        say("# To evaluate it by `dvc repro`, add this to `connections` in params.yaml and its name to tasks:")
        say_lines(yaml.safe_dump({name: entry(by_layout, spaces)}, sort_keys=False).removesuffix("\n"))


def _layouts(files: list[Path], layout: str) -> dict[str, Path]:
    """The files by their layout: what is said of a single one, else its name."""
    from pipeline.connect.published import LAYOUTS

    found = {layout or file.stem: file for file in files}
    unknown = [name for name in found if name not in LAYOUTS]
    if unknown:
        if not layout and not found[unknown[0]].exists():
            raise UserError(f"{found[unknown[0]]} does not exist.", "Correct its path.")
        raise UserError(
            f"There is no layout {unknown[0]!r}.", f"Say what the file is with --layout: {', '.join(LAYOUTS)}."
        )
    if len(found) != len(files):
        raise UserError("Two files have the same layout.", "Import them one by one, each under its own name.")
    return found


def _roles(params: "Params", layouts: dict[str, Path], names: dict[str, str]) -> "dict[str, NamedSpace]":
    """The spaces of params.yaml that have the roles of the files."""
    from dataclasses import asdict

    from pipeline.adopt.projectors import NamedSpace
    from pipeline.connect.published import CLIP, LAYOUTS
    from stages.options import pick
    from stages.specs import space_spec

    roles = {CLIP, *(role for name in layouts for role in LAYOUTS[name].heads)}
    found = {}
    for role in sorted(roles):
        [(name, settings)] = pick(params.spaces, [names[role]], "space")
        found[role] = NamedSpace(name, asdict(space_spec(settings)))
    return found
