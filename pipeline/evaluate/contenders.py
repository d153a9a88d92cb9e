"""What a task compares, each as a way from frozen embeddings to scores: connections, a frozen space, baselines."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from pipeline.connect import ConnectedSpace
from pipeline.connect.config import CONFIG_NAME, ConnectionConfig, other_pairs
from pipeline.connect.spreads import load_kept
from pipeline.errors import UserError, choice
from pipeline.evaluate.baselines import BASELINES, LinkData
from pipeline.evaluate.baselines.load_link import link_between, load_link_data
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.ranking.hubs import bank, corrected
from pipeline.evaluate.sets.items import TOGETHER, towers_of
from pipeline.evaluate.settings import MethodsTask
from pipeline.evaluate.views import Scorer, Views
from pipeline.links import Link, store_folder
from pipeline.store import open_placed
from pipeline.store.integrity.agreement import check_made_by
from pipeline.store.manifest import MANIFEST_NAME

FROZEN = "frozen"
HUBS = "_hubs"
TOWERS = "_towers"


@dataclass(frozen=True)
class Contender:
    """One row group of the result table.

    Attributes:
        connection: Connection that it belongs to; of a frozen space, the space's name.
        name: Of the connection's method, ``frozen``, a baseline's, or a method's with ``_hubs`` where hubs are corrected, and with
            ``_towers`` where a modality enters by every tower of the connection that embeds it.
        spaces: Frozen spaces through which the first and the second modality enter, see `towers_of`.
        trained: Whether it is a trained connection.
        build: Its scorer; None where the method is not defined for these spaces.
    """

    connection: str
    name: str
    spaces: tuple[str, str]
    trained: bool
    build: Callable[[], Scorer | None]

    @property
    def label(self) -> str:
        """A name that is unique within the task."""
        if self.trained:
            return self.connection
        for suffix in (HUBS, TOWERS):
            if self.name.endswith(suffix):
                return f"{self.connection}{suffix}"
        return f"{FROZEN}_{self.connection}" if self.name == FROZEN else self.name

    def through(self, pair: tuple[str, str]) -> str:
        """The towers of the two modalities in words, such as ``audio by clap, text by clap``."""
        return ", ".join(
            f"{modality} by {' and '.join(towers_of(space))}" for modality, space in zip(pair, self.spaces, strict=True)
        )


def contenders_of(
    task: MethodsTask,
    connections: Mapping[str, Sequence[Link]],
    folders: Folders,
    most: int,
    seed: int,
    device: str = "cpu",
) -> list[Contender]:
    """Trained connections first, then the frozen space, then the baselines.

    Raises:
        UserError: An unknown or unfinished connection, or one that does not fit the task.
    """
    found = []
    for name in task.connections:
        links = _known(name, connections)
        space = load_kept(folders.model(name), links, folders.embeddings, device)
        _check_pairs(space.config, name, links, folders)
        found.append(_trained(name, space, task, folders))
        spaces = _all_towers(space, task, folders)
        for modality, entered in zip(task.pair, spaces, strict=True):
            for tower in towers_of(entered):
                _check_same_space(space, name, tower, folders, task.corpus_of(modality), modality)
        if spaces != found[-1].spaces:
            found.append(_entering(name, space, f"{space.config.method}{TOWERS}", spaces, task))
    if task.space:
        found.append(Contender(task.space, FROZEN, (task.space, task.space), False, lambda: _frozen))
    if task.baselines:
        links = _known(task.baselines, connections)
        link, spaces = link_between(task.baselines, links, task.pair)

        @cache
        def data() -> LinkData:
            return load_link_data(link, spaces, task.pair, folders, most, seed)

        found += [
            Contender(task.baselines, name, spaces, False, lambda baseline=baseline: baseline(data()))  # type: ignore[misc]
            for name, baseline in BASELINES.items()
            # The training-free bridge of a connection that is this bridge itself would be the same row twice.
            if (task.baselines, name) not in {(each.connection, each.name) for each in found}
        ]
    return found


def with_hub_correction(
    contenders: Iterable[Contender],
    temperature: float,
    task: MethodsTask,
    connections: Mapping[str, Sequence[Link]],
    folders: Folders,
    most: int,
) -> Iterator[Contender]:
    """`contenders`, each trained one followed by itself with hubs corrected, where its own data holds both modalities."""
    for one in contenders:
        yield one
        if not one.trained:
            continue
        found = [
            bank(connections[one.connection], modality, space, folders, most)
            for modality, space in zip(task.pair, one.spaces, strict=True)
        ]
        if found[0] is not None and found[1] is not None:
            build = partial(_without_hubs, one, (found[0], found[1]), temperature)
            yield Contender(one.connection, f"{one.name}{HUBS}", one.spaces, False, build)


def _without_hubs(one: Contender, banks: tuple[np.ndarray, np.ndarray], temperature: float) -> Scorer | None:
    plain = one.build()
    return plain and (lambda first, second: corrected(plain(first, second), plain(*banks).forward, temperature))


def _known(name: str, connections: Mapping[str, Sequence[Link]]) -> Sequence[Link]:
    if name not in connections:
        raise UserError(f"The evaluation names a connection {name!r} that does not exist.", choice(name, connections))
    return connections[name]


def _trained(name: str, space: ConnectedSpace, task: MethodsTask, folders: Folders) -> Contender:
    spaces = tuple(task.through.get(modality) or _tower(task.space, space, modality) for modality in task.pair)
    for modality, frozen in zip(task.pair, spaces, strict=True):
        _check_same_space(space, name, frozen, folders, task.corpus_of(modality), modality)
    return _entering(name, space, space.config.method, (spaces[0], spaces[1]), task)


def _entering(name: str, space: ConnectedSpace, method: str, spaces: tuple[str, str], task: MethodsTask) -> Contender:
    """A connection whose modalities enter by `spaces`."""

    def score(first: np.ndarray, second: np.ndarray) -> Views:
        sides = [
            space.project_towers(_by_tower(space, entered, rows), modality).numpy()
            for entered, rows, modality in zip(spaces, (first, second), task.pair, strict=True)
        ]
        if space.keep:
            # Zeros add nothing but other roundings, and a base must get its own numbers to the last bit.
            held = sides[0].any(0) & sides[1].any(0)
            sides = [side[:, held] for side in sides]
        return Views((sides[0], sides[1]))

    return Contender(name, method, spaces, method == space.config.method, lambda: score)


def _by_tower(space: ConnectedSpace, entered: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    towers = towers_of(entered)
    ends = np.cumsum([space.config.spaces[tower].dimension for tower in towers])[:-1]
    return dict(zip(towers, np.split(rows, ends, axis=1), strict=True))


def _all_towers(space: ConnectedSpace, task: MethodsTask, folders: Folders) -> tuple[str, str]:
    """By every tower of a connection that embeds a modality and has its corpus, where it makes one vector of them."""

    def entered(modality: str) -> str:
        said = task.through.get(modality) or _tower(task.space, space, modality)
        if modality in task.through or not space.joins_towers:
            return said
        stored = [
            name
            for name in space.towers(modality)
            if (store_folder(folders.embeddings, name, task.corpus_of(modality), modality) / MANIFEST_NAME).is_file()
        ]
        return TOGETHER.join(stored) if said in stored else said

    return entered(task.pair[0]), entered(task.pair[1])


def _check_pairs(config: ConnectionConfig, name: str, links: Sequence[Link], folders: Folders) -> None:
    """A connection that was trained on other pairs than those that are there is not the one that the parameters describe."""
    sets = {link.name: link.sets for link in links}
    for link in config.links:
        # Configurations of the first version name no sets.
        link = link.model_copy(update={"sets": link.sets or sets.get(link.name, ())})
        if places := other_pairs(link, folders.pairs):
            raise UserError(
                f"{folders.models / name} was trained on other pairs than {', '.join(map(str, places))} holds.",
                f"Train it again: run `dvc repro`, or `mcr train {link.connection}`.",
            )
        for each in link.sets:
            folders.pair_set(link, each)


def _tower(measured: str, space: ConnectedSpace, modality: str) -> str:
    """The frozen space through which `modality` enters a connected space.

    That is the one which the task measures by itself, where it embeds the modality: a text that CLAP's row reads with CLAP
    and a connection's row with CLIP would say more about the two text towers than about the connection.
    """
    frozen = space.config.spaces.get(measured)
    return measured if frozen and modality in frozen.modalities else space.space_of(modality)


def _check_same_space(
    space: ConnectedSpace, name: str, frozen: str, folders: Folders, corpus: str, modality: str
) -> None:
    """A connection says nothing about embeddings of another checkpoint, even if their width agrees."""
    if frozen not in space.config.spaces:
        raise UserError(f"Connection {name} has no space {frozen!r}.", choice(frozen, space.config.spaces))
    store = open_placed(folders.store(frozen, corpus, modality))
    record = space.config.spaces[frozen].model_dump(mode="json")
    check_made_by(store, record, f"connection {name}", folders.models / name / CONFIG_NAME)


def _frozen(first: np.ndarray, second: np.ndarray) -> Views:
    # As they are: they are unit rows in every store, and a base of Ex-MCR must get the same numbers to the last bit.
    return Views((first, second))
