import inspect

from wsi_necrosis import errors


def test_every_error_is_ours_and_has_a_documented_exit_code() -> None:
    classes = [
        item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__
    ]
    assert len(classes) > 5
    for item in classes:
        assert issubclass(item, errors.WsiNecrosisError)
        assert item.exit_code in {1, 2, 130}
        assert item.__doc__


def test_wrong_requests_exit_with_2_and_failures_with_1() -> None:
    assert errors.PixelSizeError.exit_code == errors.SettingsError.exit_code == 2
    assert errors.DatasetError.exit_code == 2
    assert errors.SlideError.exit_code == errors.ModelError.exit_code == 1
