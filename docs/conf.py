"""The documentation: README and guides, what is registered, the public functions, and analyses as executed examples."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pages import write_pages

import clntk

project = "clntk"
author = copyright = "The clntk founders"
version = release = clntk.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["generated/analyses", "style.css"]
html_theme = "furo"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_title = f"clntk {version}"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
add_module_names = False
napoleon_use_ivar = True
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# the README is read on its own, too: its links to files are no pages here
suppress_warnings = ["myst.xref_missing", "config.cache"]
sphinx_gallery_conf = {
    "examples_dirs": ["generated/analyses", "../analyses/tutorials"],
    "gallery_dirs": ["generated/examples/analyses", "generated/examples/tutorials"],
    "filename_pattern": "/ask_",  # executed; others are shown
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "min_reported_time": 10_000,
    "show_memory": False,
}

write_pages(Path(__file__).parent / "generated")
