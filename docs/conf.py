"""How Sphinx builds the site: pages in Markdown, of which those with cells run at every build."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import plotly
from sphinx.application import Sphinx

HERE = Path(__file__).parent
STATIC = HERE / "_build" / "static"
KERNEL = HERE / "_build" / "ipython"
PLOTLY = "plotly.min.js"

project = "grok_interp"
author = project_copyright = "The grok_interp developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
source_suffix = {".md": "myst-nb"}
html_theme = "furo"
html_title = "grok_interp"
html_static_path = [str(STATIC)]
html_show_sourcelink = False

# Pages with cells run anew each time, in a directory of their own; an exception ends the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # for one cell, on a busy machine
nb_execution_in_temp = True
nb_execution_show_tb = True
nb_merge_streams = True  # what a command prints stands in one piece
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# As fields, not as objects: dataclass fields would otherwise be documented twice.
napoleon_use_ivar = True
napoleon_attr_annotations = False

# What the kernels find when they start: figures as HTML without the library, which the site has once.
STARTUP = """\
import warnings

import plotly.io as pio
from plotly.io.base_renderers import MimetypeRenderer


class OnTheSite(MimetypeRenderer):
    def to_mimebundle(self, figure):
        html = pio.to_html(figure, full_html=False, include_plotlyjs=False, validate=False)
        return {"text/html": html}


pio.renderers["site"] = OnTheSite()
pio.renderers.default = "site"
# tqdm's advice to install widgets, which a page does not need.
warnings.filterwarnings("ignore", message="IProgress not found")
"""


def prepare_kernels() -> None:
    """Write the kernels' startup file and copy plotly's library to where the site takes it from."""
    startup = KERNEL / "profile_default" / "startup"
    for folder in (startup, STATIC):
        folder.mkdir(parents=True, exist_ok=True)
    (startup / "00-figures.py").write_text(STARTUP, encoding="utf-8")
    shutil.copy(Path(plotly.__file__).parent / "package_data" / PLOTLY, STATIC / PLOTLY)
    os.environ["IPYTHONDIR"] = str(KERNEL)
    # Kernels run beside each other, and small networks are faster so.
    os.environ["OMP_NUM_THREADS"] = "1"
    # Cells that show shell commands find grok-interp where this Python is.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Bars of other libraries are no part of a page.
    os.environ["TQDM_DISABLE"] = "1"


def link_to_notebooks_as_files(app: Sphinx, config: Any) -> None:
    """Take back that notebooks are pages: those of demos/ lie outside of the site."""
    config.source_suffix.pop(".ipynb", None)


def load_plotly(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Load plotly's library in the head of pages with figures, whose scripts need it at once."""
    if "plotly-graph-div" in context.get("body", ""):
        source = context["pathto"](f"_static/{PLOTLY}", resource=True)
        context["metatags"] = context.get("metatags", "") + f'<script src="{source}"></script>'


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    prepare_kernels()
    app.connect("config-inited", link_to_notebooks_as_files, priority=900)  # after it was said
    app.connect("html-page-context", load_plotly)
