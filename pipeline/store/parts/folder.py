"""A folder of parts under construction: parts are adopted one by one, so that a kill costs at most those in work."""

import json
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pipeline.errors import UserError
from pipeline.files.atomic import LEFTOVER, discard, move, sync_directory, temporary_file
from pipeline.hashing import sha256_file
from pipeline.progress import Progress, Silent
from pipeline.store.integrity.unchanged import UnchangedParts, look_of
from pipeline.store.lock import LOCK_NAME, FolderLock
from pipeline.store.manifest import FAILURES_NAME, MANIFEST_NAME, Failure, Manifest, Part
from pipeline.store.parts.earlier import committed, take_over
from pipeline.store.parts.elsewhere import Elsewhere
from pipeline.store.parts.file import file_here
from pipeline.store.parts.journal import JOURNAL_NAME, Journal
from pipeline.store.parts.share import WHOLE, Share
from pipeline.store.parts.slices import made_by_slices, no_slice_at_work, remove_slices
from pipeline.store.parts.work import Made, Record, Source, Work, write_part
from pipeline.store.rejects import check_rejects, write_failures
from pipeline.store.remote.objects import remove

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
        self._parts: dict[str, Part] = {}
        self._journal: Journal | None = None
        self._whole = folder
        self._of_all: dict[str, Part] = {}
        self._elsewhere = Elsewhere(self.folder, "" if share.partial else address)
        self._lock = FolderLock(self.folder)
        try:
            with no_slice_at_work(self.folder):
                found = take_over(self.folder, self.manifest)
                self._previous, self._known, self._own = found.manifest, found.parts, found.own
                self._lists_all, self._continues = found.lists_all, found.continues
                self._adopt_slices()
            if share.partial:
                self._of_all = committed(folder, self.manifest)
        except BaseException:
            self.close()
            raise
        self._unchanged = UnchangedParts(self.folder)

    @property
    def parts(self) -> dict[str, Part]:
        """Parts that this run kept or made, by name."""
        return dict(self._parts)

    @property
    def earlier_parts(self) -> dict[str, Part]:
        """Parts that an earlier run with the same fingerprint committed, by name."""
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
        elif not (self._is_intact(part, path) if folder == self.folder else sha256_file(path) == part.sha256):
            reason = "the file is damaged"
        if not reason and part.decoders < self.decoders and work.outdated:
            reason = work.outdated(part)
        if reason:
            log.info("%s/%s is stale: %s", folder, name, reason)
            return None
        self._parts[name] = replace(part, decoders=self.decoders)
        return source

    def _is_intact(self, part: Part, path: Path) -> bool:
        name = str(path) if part.location else part.name
        if self._unchanged.vouch(name, part.sha256):
            return True
        look = look_of(path)
        if sha256_file(path) != part.sha256:
            return False
        self._unchanged.hashed(name, part.sha256, look)
        return True

    def adopt(self, record: Record) -> Part:
        """Commit what was written: list it in the journal, then give it its name. The time does not depend on how many
        parts there are.

        Raises:
            HeldError: Somebody broke the lock.
        """
        self._lock.check()
        part = replace(record.part, arithmetic=self.arithmetic, decoders=self.decoders)
        self._list(part, record.temporary)
        self.computed += 1
        return part

    def _list(self, part: Part, name: str) -> None:
        """Commit `part`, which is called `name` in the folder; empty where it lies at an address already."""
        temporary, path = self.folder / name, self.folder / part.name
        try:
            journal = self._under_construction()
        except BaseException:
            if name:
                discard(temporary)  # Nothing lists it: under its final name it would be in everybody's way.
            raise
        try:
            journal.append({"part": part.entry(), "temporary": name})
            if name:
                # Should a power cut bring the temporary name back, the journal still knows it.
                move(temporary, path, durably=False)
        except BaseException:
            with suppress(OSError):  # A signal: the journal may list the part by now.
                if name:
                    os.replace(temporary, path)
            raise
        if here := file_here(self.folder, part):
            self._unchanged.hashed(str(here) if part.location else part.name, part.sha256, look_of(here))
        self._parts[part.name] = part

    def commit(
        self, name: str, source: str, keys: Sequence[str], rejected: Sequence[Failure], write: Callable[[Path], None]
    ) -> Part:
        """Write part `name` with `write` here and now, and adopt it: for a part that no engine makes."""

        def make(path: Path, progress: Progress) -> Made:
            write(path)
            return Made(keys, rejected)

        work = Work(name, Source(source), make, address=self.address_of(name))
        self.plan([work])
        return self.adopt(write_part(self.folder, work, Silent()))

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
            self.manifest = replace(self.manifest, parts=tuple(part for _, part in sorted(self._parts.items())))
            return self.manifest
        try:
            self._lock.check()
            parts = tuple(self._parts[name] for name in sorted(self._parts))
            now = replace(self.manifest, parts=parts, complete=True, files={}, not_read=dict(not_read or {}))
            self._write_table(now.files, FAILURES_NAME, lambda path: write_failures(path, now))
            check_rejects(now, max_rejected, self.folder)
            now = replace(now, parts=self._settled_parts())
            for name, write in (tables or {}).items():
                self._write_table(now.files, name, write)
            present = {path.name for path in self.folder.iterdir() if path.is_file()}
            here = {part.name for part in now.parts if not part.location}
            stale = (self._own & present) - here - now.files.keys()
            # Half-written files of the first version had no names of their own.
            stale |= present & {f"{name}.tmp" for name in (*self._own, *self._parts, *now.files)}
            # Of processes on machines that were given up and went on for a while.
            stale |= {name for name in present if LEFTOVER.fullmatch(name)}
            gone = self._elsewhere.stale(self._own, now.parts)
            if now != self._previous or stale or gone or self._journal or (self.folder / JOURNAL_NAME).exists():
                journal = self._under_construction()
                for name in stale:
                    (self.folder / name).unlink()
                for address in gone:
                    remove(address)
                sync_directory(self.folder)
                now.save(self.folder)
                journal.remove()
                self._journal = None
            _name_foreign(self.folder, present - stale - now.files.keys() - here)
            self.manifest = now
            self._unchanged.save()
            return now
        finally:
            self.close()

    def close(self) -> None:
        """Leave the folder as it is, for the next run to go on with."""
        if self._journal:
            self._journal.close()
            self._journal = None
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
        self._claim({work.name for work in works})

    def _claim(self, names: Collection[str]) -> None:
        """From now on files called `names` are ours."""
        new = sorted({self._elsewhere.place_of(name) for name in names} - self._own)
        if self._lists_all and self._elsewhere.address:
            self._elsewhere.refuse_strangers(new)
        elif self._lists_all and (strange := next((name for name in new if (self.folder / name).exists()), "")):
            raise UserError(
                f"{self.folder / strange} is in the way: this stage did not make it.",
                "Move the file away; the folder belongs to the stage.",
            )
        continues = self._continues
        self._own.update(new)
        if names and self._elsewhere.address:
            self._under_construction()  # Before an object that a manifest lists is replaced.
        if new and continues:
            self._under_construction().append({"own": new})

    def address_of(self, name: str) -> str:
        """Where whoever makes the part called `name` puts it; empty: in the folder."""
        return self._elsewhere.place_of(name) if self._elsewhere.address else ""

    def _settled_parts(self) -> tuple[Part, ...]:
        """All parts, those that lie elsewhere than they are to lie moved there, and seen to be there."""
        astray = [part for part in self._parts.values() if not self._elsewhere.settled(part)]
        if astray:
            self._claim({part.name for part in astray})
        for part in astray:
            self._list(*self._elsewhere.moved(part))
        parts = tuple(self._parts[name] for name in sorted(self._parts))
        self._elsewhere.confirm(parts, anew=bool(astray or self.computed))
        return parts

    def _adopt_slices(self) -> None:
        """Take over what the processes of a job array made, each in a folder of its own."""
        for part, waiting in made_by_slices(self.folder, self.manifest):
            known = self._known.get(part.name)
            foreign = part.name not in self._own and (self.folder / part.name).exists()
            if foreign or (known and known.source == part.source):
                continue
            self._own.add(part.name)
            self._under_construction().append({"part": part.entry(), "temporary": waiting})
            move(self.folder / waiting, self.folder / part.name, durably=False)
            self._known[part.name] = part
        remove_slices(self.folder)

    def _refuse_mixture(self) -> None:
        """Stop before one folder would hold what different kinds of device or precisions computed."""
        for part in self._parts.values():
            # Earlier versions did not record it; they ran on CPUs.
            made = part.arithmetic or (self.arithmetic if not self.arithmetic.startswith("cuda") else "cpu fp32")
            if made != self.arithmetic:
                raise UserError(
                    f"{self.folder} is partly computed with {made}; this run would add parts computed with "
                    f"{self.arithmetic}, whose numbers are rounded differently.",
                    f"Finish it with {made} (run.device and precision in params.yaml), or remove the folder to make all of it anew.",
                )

    def _under_construction(self) -> Journal:
        """The journal; from its first entry on, readers take the folder for unfinished."""
        if self._journal is None:
            # The parts of the manifest need no second entry: it is kept until the new one replaces it.
            header = {
                "kind": self.manifest.kind,
                "fingerprint": self.manifest.fingerprint,
                "corpus": self.manifest.corpus,
                "own": sorted(self._own),
            }
            self._journal = Journal(self.folder, None if self._continues else header)
            self._continues = True
        return self._journal

    def _write_table(self, files: dict[str, str], name: str, write: Callable[[Path], None]) -> None:
        """Write a table if it is not there already as it should be, and list its hash in `files`."""
        path = self.folder / name
        with temporary_file(path) as temporary:
            write(temporary)
        files[name] = sha256_file(temporary)
        if path.is_file() and sha256_file(path) == files[name]:
            discard(temporary)
        else:
            self._under_construction()
            move(temporary, path)


def _name_foreign(folder: Path, names: set[str]) -> None:
    foreign = sorted(names - {MANIFEST_NAME, JOURNAL_NAME, LOCK_NAME})
    if foreign:
        shown = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        log.warning("%s holds files that this stage did not make and leaves alone: %s", folder, shown)
