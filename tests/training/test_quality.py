from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.model.spec import load_spec, spec_adapter
from wsi_necrosis.radiomics.recipe import find_recipe
from wsi_necrosis.settings.train import load_train_settings
from wsi_necrosis.training.quality import quality_ranges
from wsi_necrosis.training.samples import SampleCache, Samples


def test_tiles_without_enough_nuclei_tell_no_ranges(samples: Samples) -> None:
    assert quality_ranges(samples, 1.0, 1) is None


@pytest.fixture(scope="module")
def real(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Four crops of each tile."""
    settings = load_train_settings(None, [f"data.tiles={data_dir / 'tcia_os'}", "crops.per_side=2"], "tcia")
    found = read_tiles(settings.data, tmp_path_factory.mktemp("tiles"), Field(224, 1.0))
    return SampleCache(found).plain(settings.crops, find_recipe("none"))


@pytest.mark.real
def test_ranges_of_real_tiles_hold_what_is_known_of_them(real: Samples) -> None:
    found = quality_ranges(real, 1.0, 1)
    assert found is not None
    assert 0.25 < found.focus < 0.5
    assert 20 < found.nucleus_um2[0] < 40 < found.nucleus_um2[1] < 80
    assert 0.6 < found.nucleus_od[0] < 0.9 < found.nucleus_od[1] < 2  # necrosis has pale nuclei
    assert found.brightness[0] < 243 < found.brightness[1]  # the glass of montages
    assert found.red[0] < 1 < found.red[1]
    assert found.blue[0] < 1 < found.blue[1]
    spec = replace(load_spec("phantom"), quality=found)
    again = spec_adapter().validate_json(spec_adapter().dump_json(spec))
    assert asdict(again.quality) == asdict(found)
    assert spec.fingerprint == load_spec("phantom").fingerprint  # scores do not depend on ranges


@pytest.mark.real
def test_ranges_do_not_depend_on_the_order_of_tiles(real: Samples) -> None:
    turned = real.only(real.tiles)
    order = np.argsort(-real.owner, kind="stable")
    turned = replace(turned, pixels=real.pixels[order], owner=real.owner[order])
    assert quality_ranges(turned, 1.0, 2) == quality_ranges(real, 1.0, 1)
