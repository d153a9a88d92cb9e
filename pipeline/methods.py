"""The methods of connecting spaces, one record each: whoever wants to know something of a method asks its record.

A record names code instead of importing it, so that no stage depends on the code of another. ``.cmcr:CMCR`` is found in
the folder of the stage that uses it, ``package.module:Name`` wherever it is installed. A method of another package is a
plug-in (`pipeline.plugins`) that is such a record; nothing here has to be changed for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any, Literal

from pipeline.errors import UserError, choice
from pipeline.plugins import METHODS, plugins


@dataclass(frozen=True)
class Method:
    """What the stages need to know about a method.

    Attributes:
        name: As params.yaml says it.
        label: As the page says it.
        summary: What it is, in a sentence.
        pairs: What the two sides of a pair are to each other: ``averaged`` (a real sample and softmax-weighted averages),
            ``drawn`` (two real samples, drawn as partners) or ``true`` (known to belong together, which makes the method a
            bound for the others and never a result); ``texts`` where only the overlapping modality is learned from, and
            ``none`` where nothing is paired.
        keeps_base: Whether one space stays as it is and the others are projected into it, one link each; if not, two
            spaces are joined by one link and both get a projector.
        needs_overlap: Whether the spaces of a link must embed a modality in common.
        one_hop: Whether one of the memories may be of the overlapping modality itself: its samples are known in both
            spaces, and partners are found in one hop.
        sets: Names of the sets of pairs of a link; retrieve settings that have `sets` choose among them. Without any, no
            data is read, and memories need no corpora.
        retrieve_settings: Settings of the retrieve stage, a subclass of `pipeline.retrieve.settings.SearchSettings`.
        train_settings: Settings of the train stage, a subclass of `pipeline.train.settings.ScheduleSettings`.
        pair_maker: Makes the pairs, see `pipeline.retrieve.maker.PairMaker`; empty where there are no sets.
        objective: What training minimises, see `pipeline.train.objective.Objective`; empty where nothing is trained.
        joint: Whether any number of spaces is joined by any links between them, which are trained together.
        combines: Whether an item may enter by the base and by leaves at once, mixed by factors that are chosen after training
            (`combine` of a connection); its `connected` is then `pipeline.connect.projected.Combining`.
        trainer: Makes a link's part of the connected space from its pairs, see `pipeline.train.link.LinkJob`;
            of a joint method, all of it from the jobs of all links.
        connected: What maps embeddings into the connected space, see `pipeline.connect.projected.Connected`.
    """

    name: str
    label: str
    summary: str
    pairs: Literal["averaged", "drawn", "true", "texts", "none"]
    retrieve_settings: str
    train_settings: str
    pair_maker: str
    objective: str
    sets: tuple[str, ...]
    keeps_base: bool = False
    needs_overlap: bool = True
    one_hop: bool = False
    joint: bool = False
    combines: bool = False
    trainer: str = ".link:train_link"
    connected: str = ".projected:Projected"

    @property
    def is_bound(self) -> bool:
        """Whether it learns from true pairs and so only bounds what the other methods can reach."""
        return self.pairs == "true"


CMCR = Method(
    "cmcr",
    "C-MCR",
    "C-MCR: two spaces, each with a projector into a new one.",
    pairs="averaged",
    retrieve_settings=".settings:RetrieveSettings",
    train_settings=".settings:TrainSettings",
    pair_maker=".methods.cmcr:CmcrPairs",
    objective=".methods.cmcr:CMCR",
    sets=("overlap",),
)
COUPLING = Method(
    "coupling",
    "Coupled samples",
    "Coupling of real samples, our own method.",
    pairs="drawn",
    retrieve_settings=".settings:CouplingRetrieveSettings",
    train_settings=".settings:CouplingTrainSettings",
    pair_maker=".methods.coupling:CouplingPairs",
    objective=".methods.coupling:Coupling",
    sets=("samples",),
    one_hop=True,
)
EXMCR = Method(
    "exmcr",
    "Ex-MCR",
    "Ex-MCR: a base that stays as it is, and any number of leaves, trained independently of each other.",
    pairs="averaged",
    keeps_base=True,
    retrieve_settings=".settings:LeafRetrieveSettings",
    train_settings=".settings:LeafTrainSettings",
    pair_maker=".methods.exmcr:exmcr_pairs",
    objective=".methods.exmcr:ExMCR",
    sets=("overlap", "leaf", "base"),
)
EXCOUPLING = Method(
    "excoupling",
    "Coupled samples, base kept",
    "Coupling into a base that stays as it is, our own method.",
    pairs="drawn",
    keeps_base=True,
    retrieve_settings=".settings:CouplingRetrieveSettings",
    train_settings=".settings:LeafCouplingTrainSettings",
    pair_maker=".methods.coupling:CouplingPairs",
    objective=".methods.coupling:Coupling",
    sets=("samples",),
    one_hop=True,
)
JOINT = Method(
    "joint_coupling",
    "Joint coupling",
    "Coupling over any graph of spaces: one shared space, trained over all links at once, our own method.",
    pairs="drawn",
    joint=True,
    retrieve_settings=".settings:WitnessedRetrieveSettings",
    train_settings=".settings:JointTrainSettings",
    pair_maker=".methods.witnessed:WitnessedPairs",
    objective=".methods.joint:JointCoupling",
    trainer=".joint:train_jointly",
    connected=".centred:CentredProjected",
    sets=("samples",),
    one_hop=True,
)
ORACLE = Method(
    "oracle",
    "Oracle",
    "The oracle, which is trained on true pairs and bounds what any method can reach.",
    pairs="true",
    needs_overlap=False,
    retrieve_settings=".settings:RetrieveSettings",
    train_settings=".settings:TrainSettings",
    pair_maker=".methods.oracle:OraclePairs",
    objective=".methods.oracle:Oracle",
    sets=("true",),
)
TEXTME = Method(
    "textme",
    "TextME",
    "TextME: texts alone map each leaf into a text anchor space, and other modalities follow by their means.",
    pairs="texts",
    keeps_base=True,
    retrieve_settings=".settings:TextSettings",
    train_settings=".settings:TextMESettings",
    pair_maker=".methods.textme:textme_pairs",
    objective=".methods.textme:TextME",
    connected=".centred:CentredProjected",
    sets=("texts", "means"),
    one_hop=True,
)
FREEBIND = Method(
    "freebind",
    "FreeBind",
    "FreeBind: mixtures of projectors into a base, combined with the base's own embedding by factors chosen after training.",
    pairs="averaged",
    keeps_base=True,
    combines=True,
    retrieve_settings=".settings:LeafRetrieveSettings",
    train_settings=".settings:FreeBindSettings",
    pair_maker=".methods.exmcr:exmcr_pairs",
    objective=".methods.freebind:FreeBind",
    connected=".combined:Combined",
    sets=("overlap", "leaf", "base"),
)
BRIDGE = Method(
    "bridge",
    "Bridge",
    "The training-free bridge: a sample beside its profile over the overlapping modality in the other space.",
    pairs="none",
    retrieve_settings=".settings:BridgeRetrieveSettings",
    train_settings=".settings:BridgeTrainSettings",
    pair_maker=".methods.bridge:bridge_pairs",
    objective="",
    trainer=".methods.bridge:keep_bridge",
    connected=".bridge:Bridge",
    sets=("texts", "means"),
)
BRIDGE_TO_BASE = replace(
    BRIDGE,
    name="bridge_to_base",
    label="Bridge, base kept",
    summary="The training-free bridge into an unchanged base: leaves are represented by their profiles in it.",
    connected=".bridge:BridgeToBase",
    keeps_base=True,
    one_hop=True,
)
PUBLISHED = Method(
    "imported",
    "Published projectors",
    "Two projectors that others trained and published, read from a file.",
    pairs="none",
    needs_overlap=False,
    retrieve_settings=".settings:SearchSettings",
    train_settings=".settings:ImportSettings",
    pair_maker="",
    objective="",
    trainer=".methods.imported:import_link",
    sets=(),
)
PUBLISHED_LEAVES = replace(
    PUBLISHED,
    name="imported_leaves",
    label="Published projectors, base kept",
    summary="Projectors into a base that others trained and published, a file for each leaf.",
    keeps_base=True,
)
BUILT_IN = (
    CMCR,
    COUPLING,
    EXMCR,
    EXCOUPLING,
    JOINT,
    TEXTME,
    FREEBIND,
    ORACLE,
    BRIDGE,
    BRIDGE_TO_BASE,
    PUBLISHED,
    PUBLISHED_LEAVES,
)


@cache
def methods() -> Mapping[str, Method]:
    """Every method by name: ours, then those of installed packages and of the project's folder ``plugins/``.

    Raises:
        UserError: A plug-in's method cannot be loaded, or has the name of another one.
    """
    found = {method.name: method for method in BUILT_IN}
    for name, plugin in plugins(METHODS).items():
        method = plugin.load()
        if not isinstance(method, Method) or method.name != name:
            raise UserError(f"{plugin} is not a `Method` of that name.", f"Repair or remove {plugin.package}.")
        if name in found:
            raise UserError(f"{plugin} has the name of a built-in one.", f"Rename it, or remove {plugin.package}.")
        found[name] = method
    return found


def method_called(name: str) -> Method:
    """The method `name`.

    Raises:
        UserError: There is none.
    """
    known = methods()
    if name not in known:
        hint = choice(name, known)
        raise UserError(f"There is no method {name!r}.", f"{hint} A method of another package must be installed.")
    return known[name]


def implementation(reference: str, folder: str) -> Any:
    """What `reference` names: ``package.module:Name``, or ``.module:Name`` below the package `folder`."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module, folder), name)
