"""Compare the results of two versions of this package, file by file.

python benchmarks/same_bytes.py BEFORE AFTER

Both are output folders of `wsi-necrosis run` on the same slides. Every file of BEFORE must be in AFTER with the same
bytes, but for times and versions: `perf.json`, `log.txt` and files with times and hashes of others are left out, and so
are the versions in `result.json` and the paths in it where the two folders lie elsewhere. Files that are new are
listed. Exit code 1 where one differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LEFT_OUT = {"perf.json", "log.txt", "hashes.json", ".summary.json"}


def files_of(root: Path) -> dict[str, Path]:
    """Files of a tree by their relative path."""
    return {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}


def content_of(path: Path) -> Any:
    """What is compared of a file: its bytes, or its content without what may differ."""
    if path.name == "result.json":
        result = json.loads(path.read_text(encoding="utf-8"))
        del result["provenance"]["versions"], result["path"]
        return result
    if path.name == "summary.csv":
        return [
            line.split(",")[:1] + line.split(",")[2:]
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
    return path.read_bytes()


def main() -> int:
    before, after = (files_of(Path(root)) for root in sys.argv[1:3])
    compared = [name for name in before if Path(name).name not in LEFT_OUT]
    gone = [name for name in compared if name not in after]
    other = [
        name for name in compared if name in after and content_of(before[name]) != content_of(after[name])
    ]
    new = sorted({name.partition(".zarr/")[0] for name in after if name not in before})
    print(f"{len(compared)} files compared: {len(gone)} gone, {len(other)} differ")
    for label, names in (("gone", gone), ("differs", other), ("new", new)):
        for name in names:
            print(f"  {label}: {name}")
    return int(bool(gone or other))


if __name__ == "__main__":
    sys.exit(main())
