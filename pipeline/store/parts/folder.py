"""A folder of parts under construction: parts are adopted one by one, so that a kill costs at most those in work."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pipeline.errors import UserError
from pipeline.files.atomic import move
from pipeline.hashing import sha256_file
from pipeline.progress import Progress, Silent
from pipeline.store.lock import FolderLock
from pipeline.store.manifest import Failure, Manifest, Part
from pipeline.store.parts.claims import Claims
from pipeline.store.parts.earlier import committed, take_over
from pipeline.store.parts.elsewhere import Elsewhere
from pipeline.store.parts.file import file_here
from pipeline.store.parts.finish import finish
from pipeline.store.parts.ledger import Ledger
from pipeline.store.parts.share import WHOLE, Share
from pipeline.store.parts.slices import made_by_slices, no_slice_at_work, remove_slices
from pipeline.store.parts.subfolders import make_subfolders, subfolders_of, sync_folders
from pipeline.store.parts.work import Made, Record, Source, Work, write_part

log = logging.getLogger(__name__)


class PartFolder:
    """The one driver of a folder of parts; it holds the folder's lock until `finish`, `close` or the end of ``with``.

    Opening it finds what an earlier run committed, and says in words why any of it is stale.

    Args:
        folder: Where the parts go.
        kind: ``shards``, ``embeddings`` or ``pairs``.
        fingerprint: Everything that can change a part, apart from the part's own source.
        arithmetic: Kind of device and precision that this run computes with, see `Part`. It is no part of the
            fingerprint: what another device has finished stays valid.
        corpus: Whose samples these are, see `Manifest`.
        decoders: Version of the decoders that this run reads samples with, see `Part`.
        share: Which of the parts this run makes. Those of one share among several are kept apart, see `Share`, until a
            run without shares adopts them.
        address: Where its parts are to lie; empty: in the folder; None: each where it lies. Parts that lie elsewhere move.

    Attributes:
        computed: Parts adopted so far.
        manifest: The fingerprint, and once finished everything.

    Raises:
        HeldError: Another driver is at work.
        UserError: The folder holds something of another kind.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        fingerprint: Mapping[str, object],
        arithmetic: str = "",
        corpus: str = "",
        decoders: int = 0,
        share: Share = WHOLE,
        address: str | None = "",
    ) -> None:
        self.share = share
        self.folder = share.folder(folder)
        self.arithmetic = arithmetic
        self.decoders = decoders
        self.computed = 0
        # Through JSON, so that what is compared is what a manifest can hold.
        self.manifest = Manifest(kind, json.loads(json.dumps(fingerprint)), corpus=corpus)
        self._whole = folder
        self._of_all: dict[str, Part] = {}
        self._elsewhere = Elsewhere(self.folder, "" if share.partial else address)
        self._lock = FolderLock(self.folder)
        with ExitStack() as opened:
            opened.callback(self._lock.release)
            with no_slice_at_work(self.folder):
                found = take_over(self.folder, self.manifest)
                self._previous, self._known = found.manifest, found.parts
                claims = Claims(self.folder, self._elsewhere, found.own, found.lists_all)
                self._ledger = Ledger(self.folder, self.manifest, claims, self._elsewhere, found.continues)
                opened.callback(self._ledger.close)
                self._adopt_slices()
            if share.partial:
                self._of_all = committed(folder, self.manifest)
            opened.pop_all()

    @property
    def parts(self) -> dict[str, Part]:
        """Parts that this run kept or made, by file name."""
        return dict(self._ledger.parts)

    @property
    def earlier_parts(self) -> dict[str, Part]:
        """Parts that an earlier run with the same fingerprint committed, by file name."""
        return dict(self._known)

    def reuse(self, work: Work) -> Source | None:
        """Keep the part if it is committed, intact and made from what `work` would make it from; say why if it is not.

        A part whose file was not touched since it was hashed counts as intact, see `UnchangedParts`.

        Returns:
            What it was made from; None if it has to be made.
        """
        name, folder = work.name, self.folder
        part = self._known.get(name)
        if part is None and (part := self._of_all.get(name)):
            folder = self._whole
        if part is None:
            return None
        source = work.source if isinstance(work.source, Source) else work.source()
        path = file_here(folder, part)
        reason = None
        if part.source != source.digest:
            reason = f"its source changed ({part.source[:8]} -> {source.digest[:8]})"
        elif path is None:
            reason = self._elsewhere.wrong(part)
        elif not path.is_file():
            reason = "the file is missing"
        elif not (self._ledger.is_intact(part, path) if folder == self.folder else sha256_file(path) == part.sha256):
            reason = "the file is damaged"
        if not reason and part.decoders < self.decoders and work.outdated:
            reason = work.outdated(part)
        if reason:
            log.info("%s/%s is stale: %s", folder, name, reason)
            return None
        self._ledger.parts[name] = replace(part, decoders=self.decoders)
        return source

    def adopt(self, record: Record) -> Part:
        """Commit what was written: list it in the journal, then give it its name. The time does not depend on how many
        parts there are.

        Raises:
            HeldError: Somebody broke the lock.
        """
        self._lock.check()
        path = self._ledger.claims.path_of(record.part.file_name)
        part = replace(record.part, name=path, arithmetic=self.arithmetic, decoders=self.decoders)
        self._ledger.commit(part, record.temporary)
        self.computed += 1
        return part

    def commit(
        self, name: str, source: str, keys: Sequence[str], rejected: Sequence[Failure], write: Callable[[Path], None]
    ) -> Part:
        """Write part `name` with `write` here and now, and adopt it: for a part that no engine makes."""

        def make(path: Path, progress: Progress) -> Made:
            write(path)
            return Made(keys, rejected)

        work = Work(name, Source(source), make)
        self.plan([work])
        return self.adopt(write_part(self.folder, self.placed(work), Silent()))

    def finish(
        self,
        max_rejected: float,
        tables: Mapping[str, Callable[[Path], None]] | None = None,
        not_read: Mapping[str, int] | None = None,
    ) -> Manifest:
        """Write the tables beside the parts, remove parts that are no longer any, and write the manifest.

        Files that no manifest or journal of this folder ever listed stay, and a warning names them.

        Args:
            max_rejected: Largest share of rejected samples, from 0 to 1, with which the stage still succeeds.
            tables: What else belongs to the folder: by name, what writes it.
            not_read: What of the source was neither used nor rejected.

        Raises:
            UserError: No sample is left, or too many were rejected.
        """
        if self.share.partial:  # The run that adopts the parts sees all of them.
            self.close()
            for folder in (self.folder, self.folder.parent):
                with suppress(OSError):  # It goes if nothing had to be made.
                    folder.rmdir()
            self.manifest = replace(self.manifest, parts=self._ledger.in_order())
            return self.manifest
        try:
            self._lock.check()
            now = replace(self.manifest, not_read=dict(not_read or {}))
            self.manifest = finish(self._ledger, now, self._previous, tables or {}, max_rejected, self.computed > 0)
            return self.manifest
        finally:
            self.close()

    def close(self) -> None:
        """Leave the folder as it is, for the next run to go on with."""
        self._ledger.close()
        self._lock.release()

    def __enter__(self) -> "PartFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def plan(self, works: Sequence[Work]) -> None:
        """Say which parts are going to be made; from now on files of these names are ours. Call it when all parts to keep
        are known and before one is made, which may take hours.

        Raises:
            UserError: A file of such a name lies there which this stage did not make; or a part that is kept was
                computed by another kind of device, or in another precision.
        """
        if works:
            self._refuse_mixture()
        self._ledger.claim({work.name for work in works})

    def placed(self, work: Work) -> Work:
        """`work` for whoever makes it: with the path in the folder where it goes, or its address."""
        path = self._ledger.claims.path_of(work.name)
        if self._elsewhere.address:
            return replace(work, address=self._elsewhere.place_of(path))
        return replace(work, name=path)

    def _adopt_slices(self) -> None:
        """Take over what the processes of a job array made, each in a folder of its own."""
        claims, adopted = self._ledger.claims, set[str]()
        for made, waiting in made_by_slices(self.folder, self.manifest):
            part = replace(made, name=claims.path_of(made.file_name))
            known = self._known.get(part.file_name)
            foreign = part.name not in claims.places and (self.folder / part.name).exists()
            if foreign or (known and known.source == part.source):
                continue
            make_subfolders(self.folder, [part.name])
            claims.places.add(part.name)
            self._ledger.journal().append({"part": part.entry(), "temporary": waiting})
            move(self.folder / waiting, self.folder / part.name, durably=False)
            self._known[part.file_name] = part
            adopted.add(part.name)
        if adopted:  # before the folders go that they come from
            sync_folders(self.folder, subfolders_of(self.folder, adopted))
        remove_slices(self.folder)

    def _refuse_mixture(self) -> None:
        """Stop before one folder would hold what different kinds of device or precisions computed."""
        for part in self._ledger.parts.values():
            # Earlier versions did not record it; they ran on CPUs.
            made = part.arithmetic or (self.arithmetic if not self.arithmetic.startswith("cuda") else "cpu fp32")
            if made != self.arithmetic:
                raise UserError(
                    f"{self.folder} is partly computed with {made}; this run would add parts computed with "
                    f"{self.arithmetic}, whose numbers are rounded differently.",
                    f"Finish it with {made} (run.device and precision in params.yaml), or remove the folder to rebuild all of it.",
                )
