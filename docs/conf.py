# ruff: noqa: E402
"""Sphinx configuration. Build: python -m sphinx -W -b html docs docs/_build/html"""

import ast
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import latex2mathml.converter
import matplotlib as mpl
from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

import sklearn_minibatch


def table_of_files():
    """A line for each module of the package, with the first line of its docstring."""
    package = Path(sklearn_minibatch.__file__).parent
    rows = []
    for path in sorted(package.rglob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        rows.append(f"| `{path.relative_to(package).as_posix()}` | {docstring.splitlines()[0]} |")
    return "\n".join(["| file | what is in it |", "|---|---|", *rows, ""])


(Path(__file__).parent / "_files.md").write_text(table_of_files(), encoding="utf-8")

project = "sklearn-minibatch"
author = copyright = "the sklearn-minibatch developers"
release = version = sklearn_minibatch.__version__

# Pages that are listed only where they, or what they include, exist.
OPTIONAL = {
    "benchmarks": "docs/benchmarks.md",
    "changelog": "CHANGELOG.md",
    "dask": "docs/dask.md",
    "larger_than_memory": "docs/larger_than_memory.md",
    "scale": "docs/scale.md",
    "streams": "docs/streams.md",
}
ABSENT = {
    page for page, path in OPTIONAL.items() if not (Path(__file__).parents[1] / path).exists()
}

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "_files.md",
    "gallery",
    "benchmarks/**",
    "**/sg_execution_times.rst",
    "sg_execution_times.rst",
]
exclude_patterns += [f"{page}.md" for page in ABSENT]
suppress_warnings = ["config.cache"]
language = "en"

myst_enable_extensions = ["dollarmath", "colon_fence", "amsmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
numfig = False
math_eqref_format = "({number})"
html_math_renderer = "mathml"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

numpydoc_show_class_members = False
autodoc_member_order = "bysource"
# The docstrings have the types, in words.
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
# Signatures that are longer have one parameter a line.
python_maximum_signature_line_length = 88

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-minibatch"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {
    page: []
    for page in [
        "index",
        "start_here",
        "api",
        "when_not",
        "contributing",
        "changelog",
        "benchmarks",
    ]
}
html_theme_options = {
    "logo": {"text": "sklearn-minibatch"},
    "navigation_with_keys": False,
    "header_links_before_dropdown": 5,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
}


def reset_style(gallery_conf, fname):
    """Every example starts from the same look."""
    mpl.rcdefaults()
    mpl.rcParams.update(
        {
            "figure.figsize": (6.4, 3.8),
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "axes.prop_cycle": mpl.cycler(
                color=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555"]
            ),
        }
    )


sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sklearn_minibatch",),
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib", reset_style),
    "image_srcset": ["2x"],
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
}


def mathml(latex, display):
    """Return the MathML of a formula, which browsers draw without a script or a font."""
    latex = re.sub(r"\\label\{.*?\}", "", latex).strip()
    return latex2mathml.converter.convert(latex, display="block" if display else "inline")


def visit_inline_math(self, node):
    self.body.append(mathml(node.astext(), display=False))
    raise nodes.SkipNode


def visit_block_math(self, node):
    number = get_node_equation_number(self, node) if node["number"] else ""
    self.body.append(self.starttag(node, "div", CLASS="equation"))
    self.body.append(mathml(node.astext(), display=True))
    if number:
        self.body.append(f'<span class="eqno">({number})</span>')
    self.body.append("</div>")
    raise nodes.SkipNode


def prepare(app, docname, source):
    """Leave out absent pages, blank lines after doctests, and line ends in Chinese sentences."""
    text = re.sub(r"\n\n```$", "\n```", source[0], flags=re.M)
    text = re.sub(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff]|`[^`])", "", text)
    source[0] = "\n".join(line for line in text.split("\n") if line not in ABSENT)


def quote_attributes(app, what, name, obj, options, lines):
    """A shape like (n_features_in_,) is no link, whatever its last underscore says."""
    lines[:] = [re.sub(r"\((\w+_),", r"(``\1``,", line) for line in lines]


def stands_alone(app, exception):
    """Check that no page loads a script, a style or a picture from another site."""
    loads = re.compile(
        r'<(?:script|img|iframe)\b[^>]*\bsrc="(?:https?:)?//[^"]*"|<link\b[^>]*\bhref="(?:https?:)?//[^"]*"'
    )
    for page in [] if exception else Path(app.outdir).rglob("*.html"):
        found = loads.search(page.read_text(encoding="utf-8"))
        if found:
            raise ExtensionError(f"{page.name} loads something from the internet: {found[0]}")


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline_math, None), (visit_block_math, None))
    app.connect("source-read", prepare)
    app.connect("autodoc-process-docstring", quote_attributes, priority=400)
    app.connect("build-finished", stands_alone)
