"""Settings of the documentation site; `bash ci/docs.sh` builds it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "_ext")]

# Pictures are small and the machine that builds is shared, so one thread will do; the examples
# must not speak of compiling.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XPCNN_QUIET", "1")
os.environ.pop("MPLBACKEND", None)  # notebooks and gallery choose their own

import copied_pages
import public_names

import xpcnn

copied_pages.copy(ROOT)
public_names.forget_old_pages(DOCS / "reference" / "names")

project = "xpcnn"
author = "xpcnn developers"
copyright = "xpcnn developers, MIT license"
version = release = xpcnn.__version__
language = "en"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",  # formulas: MathJax comes with the site
    "code_in_tables",
    "copied_pages",
    "docstrings",
    "short_names",
    "japanese",
]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}
exclude_patterns = ["_*", "**/.ipynb_checkpoints", "gallery/*.ipynb"]
suppress_warnings = ["config.cache"]  # functions that templates call cannot be stored
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", name) for name in public_names.NOT_OURS]

# -- Pages in Markdown, and notebooks --------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_merge_streams = True

# -- Reference -------------------------------------------------------------------------------------

autosummary_generate = [f"reference/{path.name}" for path in DOCS.glob("reference/*.rst")]
autosummary_context = {"members_of": public_names.members, "bases_of": public_names.bases}
autosummary_filename_map = public_names.file_names()
autodoc_typehints = "none"  # the lists of parameters have the types, in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
python_maximum_signature_line_length = 76
add_module_names = False
toc_object_entries_show_parents = "hide"

# -- Gallery ---------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples" / "gallery"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_\w+\.py",
    "abort_on_example_error": True,
    "run_stale_examples": True,  # the library may have changed, if not the script
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "plot_gallery": True,
    "remove_config_comments": True,
}

# -- What it looks like ----------------------------------------------------------------------------

repository = os.environ.get("GITHUB_REPOSITORY")  # "owner/name", where GitHub builds the site
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "xpcnn"
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "xpcnn"},
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "icon_links": [
        {"name": "GitHub", "url": f"https://github.com/{repository}", "icon": "fa-brands fa-github"}
    ]
    if repository
    else [],
}
