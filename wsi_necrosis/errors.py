"""The errors that this package raises on purpose, each class with the exit code of the command that it ends.

A message names the object, the problem and a remedy: "slide X carries no pixel size; give --mpp".
"""

from __future__ import annotations

from typing import ClassVar, Self


class WsiNecrosisError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code: ClassVar[int] = 1
    stage: str = ""  # of a slide's analysis, where a batch found it: open, plan, model, tissue, score, ...


class SlideError(WsiNecrosisError):
    """A slide cannot be found, opened or read."""


class ReadError(SlideError):
    """The system failed to read a slide's files, or they are shorter than they should be; another try may succeed."""


class SlideChangedError(SlideError):
    """A slide's files changed while they were scored; nothing was published."""


class GoneError(SlideError):
    """A slide that is shown was moved, deleted or changed meanwhile."""


class FailedBlocksError(SlideError):
    """Blocks of a slide failed, for reasons that may pass; the others are kept, and the next run tries these.

    Each was tried twice, but for those that hang in a thread, which cannot be ended.

    Parameters
    ----------
    message : str
        Names the slide and the first block's error.
    reason : str
        What failed, as one word: `read_error`, `worker_lost`, `time_limit` or `out_of_memory`.
    """

    def __init__(self, message: str, reason: str = "read_error") -> None:
        super().__init__(message)
        self.reason = reason


class ModelError(WsiNecrosisError):
    """A checkpoint is missing, damaged, or made by another format version."""


class DatasetError(WsiNecrosisError):
    """Labelled tiles do not fit their description: unknown label, missing case, missing file."""


class StoreError(WsiNecrosisError):
    """A result folder is damaged or cannot be written."""


class ClaimedError(StoreError):
    """Another process works on a result; it is not touched."""


class ClaimLostError(StoreError):
    """Another process took over a result that this one worked on, because this one was silent; that result stands."""


class UsageError(WsiNecrosisError):
    """The request cannot be carried out as given; other options would help."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown or out of range; the message gives its dotted key."""


class PixelSizeError(UsageError):
    """The pixel size is unknown, implausible, or too coarse for the model."""


class ResultsDifferError(UsageError):
    """The output folder holds scores made from other inputs; `--overwrite` replaces them."""


class MissingExtraError(UsageError):
    """A feature needs an optional package; the message says which extra to install."""


class InterruptedRunError(WsiNecrosisError):
    """Ctrl-C or SIGTERM: finished blocks are kept, and the same command resumes."""

    exit_code = 130


class UnexpectedError(WsiNecrosisError):
    """An error that nothing here raises on purpose ended one slide of a batch; it is the cause of this one."""

    @classmethod
    def of(cls, error: Exception, slide: str) -> Self:
        """Wrap what was raised, which becomes the cause."""
        what = f"{type(error).__name__}: {error}".rstrip(": ").replace("\n", " ")
        found = cls(
            f"{slide} ended with an unexpected error ({what}); see the log, and report it with the log"
        )
        found.__cause__ = error
        return found
