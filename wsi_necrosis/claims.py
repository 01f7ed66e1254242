"""Claims: one process at a time works on a result, and takes over from an owner that is dead or silent.

The claim on `slides/a.svs` is the folder `slides/.a.svs.work/<token>`; the token is the owner's alone, and the work is
done in `results` inside it. Every step is one rename, which either happens or fails:

- *Claim*: a folder that holds the owner's folder is renamed onto `.a.svs.work`, which fails where a claim stands.
- *Take over*: the silent owner's folder is renamed to one's own token. Of several takers one succeeds; what was
  finished comes along; whatever the old owner writes next fails, as its path is gone.
- *Publish*: `results` is renamed to `slides/a.svs`, which fails where a folder that is not empty stands.

An owner shows that it is alive by touching `alive.<token>`. Ages are differences of two times of the same file system,
so that clocks of machines need not agree. An owner on this machine whose process has ended is replaced at once.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from wsi_necrosis.errors import ClaimedError, ClaimLostError, StoreError
from wsi_necrosis.files import remove, sync, sync_tree
from wsi_necrosis.owners import ALIVE, is_gone, owner_of, write_owner

RESULTS, REPLACED = "results", "replaced"
OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}  # a folder that is not empty is in the way
WAIT_S = 0.02  # between two attempts to get a claim that is held for moments
ATTEMPTS = 100  # others may come and go between two steps, but not for ever


@dataclass(frozen=True)
class Lease:
    """How often an owner shows that it is alive, and after how long a silence it is replaced, in seconds."""

    heartbeat_s: float
    silence_s: float


SHORT_WORK = Lease(
    heartbeat_s=20, silence_s=180
)  # where no settings reach: tables, and the folder of a training


class Claim:
    """A claim that this process holds.

    Attributes
    ----------
    target : Path
        The result that is claimed.
    folder : Path
        Where the work is done; it exists where an earlier owner had begun.
    """

    def __init__(self, target: Path, token: str, lease: Lease) -> None:
        self.target = target
        self._lease = lease
        self._own = slot_of(target) / token
        self._alive = self._own / f"{ALIVE}.{token}"
        self.folder = self._own / RESULTS
        self._ended = Event()
        self._beating = Thread(target=self._beat, daemon=True, name=f"claim of {target.name}")
        self._beating.start()

    def require(self) -> None:
        """Refuse to go on where another process took over.

        Raises
        ------
        ClaimLostError
            It did.
        """
        if not self._alive.exists():
            raise self._lost()

    def take_back(self) -> None:
        """Move what stands at the target into `folder`, to work on it again; unfinished work in `folder` is dropped.

        Where a result is published no work is in progress on it, except to replace it: this is what is dropped.
        """
        if _is_filled(self.target):
            self.require()
            remove(self.folder)
            with self._owned():
                self.target.rename(self.folder)

    def publish(self, *, replace: bool = False) -> None:
        """Bring `folder` to disk and rename it to the target.

        Parameters
        ----------
        replace : bool
            Move what stands there out of the way first; it is deleted afterwards.

        Raises
        ------
        ClaimLostError
            Another process took over; nothing is changed.
        StoreError
            Another result stands there.
        """
        with self._owned():
            sync_tree(self.folder)
            self.require()  # a worker that does not know yet may have made the folder of a lost claim anew
            if replace and _is_filled(self.target):
                self.target.rename(self.replaced())
            try:
                self.require()
                self.folder.rename(self.target)
            except (OSError, ClaimLostError):
                if self.replaced().exists():
                    self.replaced().rename(self.target)
                raise
        sync(self.target.parent)

    def replaced(self) -> Path:
        """Where `publish` moved the result that it replaced; it exists until the claim ends."""
        return self._own / REPLACED

    def end(self) -> None:
        """Give the claim up; unfinished work stays for the next owner, who need not wait."""
        self._ended.set()
        self._beating.join()
        if self.folder.exists():
            with suppress(FileNotFoundError):  # taken over
                os.utime(self._alive, (0, 0))  # silent since 1970
            return
        remove(self._own)
        for own in _claims(slot_of(self.target)):
            if owner_of(own) is None:
                remove(own)  # what an owner wrote after it had lost its claim
        with suppress(OSError):  # another process has claimed it already
            slot_of(self.target).rmdir()

    def _beat(self) -> None:
        while not self._ended.wait(self._lease.heartbeat_s):
            with suppress(OSError):  # a disk that is away for a moment, or a claim that was lost
                os.utime(self._alive)

    @contextmanager
    def _owned(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.require()
            if error.errno in OCCUPIED:
                said = f"{self.target} holds another result by now; run again"
                raise StoreError(said) from error
            reason = error.strerror or str(error)
            raise StoreError(f"{self.target} cannot be written ({reason}); run again") from error

    def _lost(self) -> ClaimLostError:
        return ClaimLostError(
            f"another process took {self.target} over after {self._lease.silence_s:g} s of silence; its result stands"
        )


@contextmanager
def claimed(target: Path, lease: Lease = SHORT_WORK, *, wait: bool = False) -> Iterator[Claim]:
    """Claim a result for this process.

    Parameters
    ----------
    target : Path
        File or folder of the result; it need not exist.
    lease : Lease
        How long owners may be silent; all processes should have the same.
    wait : bool
        Wait for another owner, for work of moments.

    Raises
    ------
    ClaimedError
        Another process works on it.
    ClaimLostError
        Another process took over meanwhile, so that work inside failed.
    StoreError
        The folder cannot be made.
    """
    claim = _acquired(target.absolute(), lease)
    while claim is None and wait:
        time.sleep(WAIT_S)
        claim = _acquired(target.absolute(), lease)
    if claim is None:
        raise claimed_by(target, lease) or ClaimedError(f"another run works on {target}; wait for it")
    try:
        yield claim
    except Exception:
        claim.require()
        raise
    finally:
        claim.end()


def slot_of(target: Path) -> Path:
    """Path of the folder that holds the claim on a result."""
    return target.with_name(f".{target.name}.work")


def claimed_by(target: Path, lease: Lease) -> ClaimedError | None:
    """The error that names the living owner of a claim; None where there is none."""
    for own in _claims(slot_of(target.absolute())):
        facts = owner_of(own)
        if facts is not None and not is_gone(own, facts, time.time(), lease.silence_s):
            who = f"process {facts.get('pid')} on {facts.get('host')}"
            return ClaimedError(
                f"another run works on {target} ({who}); wait for it, or choose another folder with -o"
            )
    return None


def has_traces(target: Path) -> bool:
    """Whether a claim on a result is held, or was left by a process that was killed while it claimed or ended."""
    slot = slot_of(target.absolute())
    return slot.exists() or any(_partial(slot))


def unfinished(target: Path) -> Path | None:
    """The folder of work on a result that has not been published; None where there is none."""
    found = [own / RESULTS for own in _claims(slot_of(target.absolute())) if owner_of(own) is not None]
    return next((folder for folder in found if folder.is_dir()), None)


def _acquired(target: Path, lease: Lease) -> Claim | None:
    """A claim, new or taken over; None where a living process holds it."""
    token, slot = secrets.token_hex(8), slot_of(target)
    partial = slot.with_name(f"{slot.name}.{token}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        (partial / token).mkdir(parents=True)
        now = write_owner(partial / token, token)
        for _ in range(ATTEMPTS):
            if _renamed(partial, slot) or _taken_over(slot, token, now, lease):
                _remove_leftovers(slot, now, lease)
                return Claim(target, token, lease)
            if claimed_by(target, lease) is not None:
                return None
        return None
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror}); choose another with -o") from error
    finally:
        remove(partial)


def _taken_over(slot: Path, token: str, now: float, lease: Lease) -> bool:
    """Rename the folder of an owner that is gone to one's own token; False where none is, or another was faster."""
    for own in _claims(slot):
        facts = owner_of(own)
        if facts is None:
            remove(own)  # of an owner that lost its claim and wrote on, or that has ended
        elif is_gone(own, facts, now, lease.silence_s):
            with suppress(FileNotFoundError):  # another was faster
                write_owner(own, token)  # first, so that nobody ever sees the folder without a living owner
                own.rename(slot / token)
                (slot / token / f"{ALIVE}.{own.name}").unlink(missing_ok=True)
                return True
    return False


def _remove_leftovers(slot: Path, now: float, lease: Lease) -> None:
    """Delete what processes left that were killed while they claimed."""
    for path in _partial(slot):
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > lease.silence_s:
                remove(path)


def _partial(slot: Path) -> Iterator[Path]:
    """Claims that are being made, or were when their process was killed."""
    for path in slot.parent.iterdir() if slot.parent.is_dir() else ():
        if path.name.startswith(f"{slot.name}.") and path.name.endswith(".partial"):
            yield path


def _renamed(partial: Path, slot: Path) -> bool:
    try:
        partial.rename(slot)
    except OSError as error:
        if error.errno in OCCUPIED:
            return False
        raise
    return True


def _claims(slot: Path) -> list[Path]:
    try:
        return list(slot.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_filled(path: Path) -> bool:
    return path.is_dir() and any(path.iterdir())
