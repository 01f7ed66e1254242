from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.phantom_model import phantom_network, phantom_spec
from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.openvino_convert import write_network
from wsi_necrosis.model.openvino_runner import OpenVinoRunner
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.torch_runner import TorchRunner
from wsi_necrosis.slides.phantom import GLASS, MATERIALS

SIDE, FEATURES = 32, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    spec = save_checkpoint(folder, phantom_spec(), phantom_network(phantom_spec()).tensors())
    tensors = load_tensors(folder, spec)
    write_network(phantom_network(spec), tensors, folder, SIDE, FEATURES)
    return folder


def runner(folder: Path) -> OpenVinoRunner:
    return OpenVinoRunner(folder, load_tensors(folder, load_spec(folder)), "float32")


def tiles_and_features(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat tiles in the colours of the phantom's materials, with noise."""
    rng = np.random.default_rng(n)
    colours = np.array([GLASS, *MATERIALS.values()])[np.arange(n) % 4, None, None]
    tiles = np.clip(colours + rng.integers(-12, 13, (n, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    return tiles, rng.normal(size=(n, FEATURES)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 3, 16])
def test_any_number_of_tiles_is_taken(folder: Path, n: int) -> None:
    tiles, z = tiles_and_features(n)
    prob, gate = runner(folder)(tiles, z)
    expected = TorchRunner(phantom_network(phantom_spec()))(tiles, z)
    assert prob.dtype == gate.dtype == np.float32
    np.testing.assert_allclose(prob, expected[0], atol=1e-5)
    np.testing.assert_allclose(gate, expected[1], atol=1e-5)


def test_the_next_call_does_not_overwrite_the_last_result(folder: Path) -> None:
    run = runner(folder)
    prob, _ = run(*tiles_and_features(4))
    before = prob.copy()
    tiles, z = tiles_and_features(4)
    run(255 - tiles, -z)
    np.testing.assert_array_equal(prob, before)


def test_layout_of_memory_does_not_matter(folder: Path) -> None:
    run = runner(folder)
    tiles, z = tiles_and_features(4)
    strided = np.repeat(tiles, 2, axis=2)[:, :, ::2]
    fixed = tiles.copy()
    fixed.flags.writeable = False
    for other in (strided, fixed):
        np.testing.assert_array_equal(run(other, z)[0], run(tiles, z)[0])


def test_threads_and_processes_give_the_same_bits(folder: Path, tmp_path: Path) -> None:
    run = runner(folder)
    tiles, z = tiles_and_features(16)
    with ThreadPoolExecutor(4) as pool:
        probs = [prob for prob, _ in pool.map(lambda _: run(tiles, z), range(24))]
    for prob in probs:
        np.testing.assert_array_equal(prob, probs[0])
    np.savez(tmp_path / "in.npz", tiles=tiles, z=z)
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from wsi_necrosis.model.checkpoint import load_tensors\n"
        "from wsi_necrosis.model.openvino_runner import OpenVinoRunner\n"
        "from wsi_necrosis.model.spec import load_spec\n"
        "folder, found = Path(sys.argv[1]), np.load(sys.argv[2])\n"
        "run = OpenVinoRunner(folder, load_tensors(folder, load_spec(folder)), 'float32')\n"
        "prob, _ = run(found['tiles'], found['z'])\n"
        "np.save(sys.argv[3], prob)\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder, tmp_path / "in.npz", tmp_path / "out.npy"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), probs[0])
    assert done.stdout.strip() == "[]"  # OpenVINO's telemetry was not imported


def test_inference_releases_the_interpreter_lock(folder: Path) -> None:
    """A thread of Python counts while another computes."""
    run = runner(folder)
    tiles, z = tiles_and_features(512)
    run(tiles, z)
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    request = run._idle[512][0]
    before = counted[0]
    request.infer((tiles, z), share_inputs=True)
    during = counted[0] - before
    stop.set()
    thread.join()
    assert during > 10
