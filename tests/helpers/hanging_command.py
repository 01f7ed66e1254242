"""The command `wsi-necrosis` with a decoder that never returns.

The read of block 1.1 of slides whose name holds "hangs" does not end: with HANG=sleep it leaves other threads alone,
with HANG=lock it keeps Python's interpreter lock. Worker processes import this file anew and hang in the same way.
"""

from __future__ import annotations

import os
import re
import time

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.inference import scorer
from wsi_necrosis.pipelines.cli import main
from wsi_necrosis.slides.slide import Slide
from wsi_necrosis.tiling.blocks import TileBatch, read_block
from wsi_necrosis.tiling.grid import Block, TileGrid

HOW = os.environ["HANG"]


def hanging(
    slide: Slide, grid: TileGrid, block: Block, wanted: NDArray[np.bool_], *, black_fill: bool = False
) -> TileBatch:
    """As `read_block`, but for one block."""
    while "hangs" in slide.info.path.name and block.name == "1.1":
        if HOW == "lock":
            re.match(r"(a+)+$", "a" * 100 + "b")
        time.sleep(1000)
    return read_block(slide, grid, block, wanted, black_fill=black_fill)


scorer.read_block = hanging

if __name__ == "__main__":
    main()
