from .analysis import analyse, analyse_all
from .model.loading import load_model
from .model.spec import list_models
from .quantify.percentage import measure
from .radiomics.extraction import extract
from .radiomics.recipe import find_recipe
from .report.slide_report import SlideReport, open_results
from .request import Request
from .settings.run import load_settings
from .slides.overview import read_overview
from .slides.phantom import write_phantom
from .slides.slide import open_slide
from .tiling.foreground import foreground
from .tiling.tissue import find_tissue
from .training.build import train

__all__ = [
    "Request",
    "SlideReport",
    "analyse",
    "analyse_all",
    "extract",
    "find_recipe",
    "find_tissue",
    "foreground",
    "list_models",
    "load_model",
    "load_settings",
    "measure",
    "open_results",
    "open_slide",
    "read_overview",
    "train",
    "write_phantom",
]
__version__: str
