"""The folder in which one process scores and measures a slide, from its claim to its publishing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsi_necrosis.claims import Claim, unfinished
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

    A result that is published already is moved back into it, and its exports stay until they are made again.

    Raises
    ------
    ResultsDifferError
        There are scores made from other inputs, and `overwrite` is false.
    """
    work = SlideFolder(claim.folder)
    if overwrite:
        remove(work.path)
    else:
        require_inputs(
            SlideFolder(claim.target), inputs
        )  # looked at before the claim, but others may have worked
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
    old = claim.replaced()
    for path in old.iterdir() if old.is_dir() else ():
        if path.name not in OUTPUTS:
            path.rename(claim.target / path.name)


def _remove_leftovers(folder: Path) -> None:
    """Delete what processes left half-written that were killed in an earlier run, or as workers of this one."""
    for each in (folder, folder / BLOCKS):
        remove_leftovers(each)
    for leftover in list((folder / SCORES).rglob("*.partial")):  # zarr's
        remove(leftover)
