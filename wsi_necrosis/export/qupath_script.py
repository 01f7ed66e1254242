"""`qupath_import.groovy`: brings the regions of a whole output folder into a QuPath project, by the slides' names."""

from __future__ import annotations

from pathlib import Path

from wsi_necrosis.export.summary import rows_by_folder
from wsi_necrosis.files import write_text
from wsi_necrosis.scores.slide_folder import REGIONS

SCRIPT = "qupath_import.groovy"
TEMPLATE = Path(__file__).parent / SCRIPT


def write_qupath_script(out: Path) -> None:
    """Write the script into an output folder; one that exists is replaced.

    It names the folder, unless slides in it were anonymised: a path may tell who they are of.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    text = TEMPLATE.read_text(encoding="utf-8")
    named = all(row["path"] for row in rows_by_folder(out).values())
    folder = str(out.resolve()) if named else "path of the output folder"
    filled = text.replace("@FOLDER@", groovy_text(folder)).replace("@REGIONS@", groovy_text(REGIONS))
    write_text(out / SCRIPT, filled)


def groovy_text(text: str) -> str:
    r"""A string of Groovy in single quotes, in which nothing is replaced.

    Examples
    --------
    >>> print(groovy_text("C:\\Fälle's $x"))
    'C:\\F\u00e4lle\'s $x'
    """
    units = text.encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "'" + "".join(_escaped(code) for code in codes) + "'"


def _escaped(code: int) -> str:
    if chr(code) in "\\'":
        return f"\\{chr(code)}"
    return chr(code) if 32 <= code < 127 else f"\\u{code:04x}"
