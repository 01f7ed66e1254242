"""Percent viable tumour on whole-slide images, with the areas behind it."""

from importlib.metadata import version

from lazy_loader import attach_stub

# The public names are listed in __init__.pyi, where editors and type checkers find them. Each is imported on its first
# use, so that `import wsi_necrosis` does not wait for torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
__version__ = version("wsi-necrosis")
