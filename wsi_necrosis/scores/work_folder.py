"""The folder in which one process scores and measures a slide, from its claim to its publishing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsi_necrosis.claims import Claim, Lease, claimed, has_traces, unfinished
from wsi_necrosis.errors import ResultsDifferError, StoreError
from wsi_necrosis.files import remove, remove_leftovers
from wsi_necrosis.scores.file_list import write_file_list
from wsi_necrosis.scores.slide_folder import (
    BLOCKS,
    EXPORTS,
    FILES,
    LOG,
    OUTPUTS,
    PERF,
    RESULT,
    SCORES,
    SlideFolder,
)
from wsi_necrosis.settings.run import ClaimSettings


def lease_of(settings: ClaimSettings) -> Lease:
    """How long the owners of slides may be silent."""
    return Lease(settings.heartbeat_s, settings.silence_s)


def require_inputs(folder: SlideFolder, inputs: Mapping[str, Any]) -> None:
    """Refuse published scores, or else unfinished ones of an interrupted run, that were made from other inputs.

    Raises
    ------
    ResultsDifferError
        The message lists what differs.
    """
    if not folder.has_scores:
        folder = SlideFolder(unfinished(folder.path) or folder.path)
    folder.require_inputs(inputs)


def begin(claim: Claim, inputs: Mapping[str, Any], *, overwrite: bool) -> SlideFolder:
    """Bring the work folder of a claimed slide into the state from which scoring can start or go on.

    A result that is published already is moved back into it, and its exports stay until they are made again. Scores
    made from the same inputs are always kept. With `overwrite`, unfinished ones made from other inputs are deleted, and
    published ones stay in their place until `publish` replaces them.

    Raises
    ------
    ResultsDifferError
        There are scores made from other inputs, and `overwrite` is false.
    """
    work, published = SlideFolder(claim.folder), SlideFolder(claim.target)
    if overwrite and not _fits(work, inputs):
        remove(work.path)
    if not overwrite or _fits(published, inputs):
        require_inputs(published, inputs)  # looked at before the claim, but others may have worked
        claim.take_back()
    _remove_leftovers(work.path)
    for name in (RESULT, FILES):
        remove(work.path / name)  # from here on the folder is not complete
    if not work.has_scores:
        for name in (*EXPORTS, PERF, LOG):
            remove(work.path / name)
    return work


def publish(claim: Claim, *, overwrite: bool) -> None:
    """List the files of the work folder with their hashes, and rename it to the slide's folder.

    What a user has put into a result that is replaced is kept.

    Raises
    ------
    StoreError
        The folder cannot be written, or the claim was lost.
    """
    _remove_leftovers(claim.folder)
    write_file_list(claim.folder / FILES, without=LOG)
    claim.publish(replace=overwrite)
    _keep_files_of_users(claim)


def tidy(target: Path, lease: Lease) -> None:
    """Delete what a process left beside a published result that was killed just before, or just after, it published.

    Unfinished work that is to replace the result stays, and so does all where another process works on the slide or the
    folder cannot be written.
    """
    if has_traces(target):
        with suppress(StoreError), claimed(target, lease) as claim:
            _keep_files_of_users(claim)


def _fits(folder: SlideFolder, inputs: Mapping[str, Any]) -> bool:
    """Whether a folder holds no scores but those made from these inputs."""
    try:
        folder.require_inputs(inputs)
    except (ResultsDifferError, StoreError):  # or scores that cannot be read
        return False
    return True


def _keep_files_of_users(claim: Claim) -> None:
    """Move what a user has put into a result that was replaced into the new one."""
    old = claim.replaced()
    if not claim.target.is_dir() or not old.is_dir():
        return
    for path in old.iterdir():
        if path.name not in OUTPUTS:
            path.rename(claim.target / path.name)


def _remove_leftovers(folder: Path) -> None:
    """Delete what processes left half-written that were killed in an earlier run, or as workers of this one."""
    for each in (folder, folder / BLOCKS):
        remove_leftovers(each)
    for leftover in list((folder / SCORES).rglob("*.partial")):  # zarr's
        remove(leftover)
