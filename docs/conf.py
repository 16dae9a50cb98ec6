"""How Sphinx makes the site of these pages, strictly:

python -m sphinx -W --keep-going -c docs . build/site

Sources are the whole repository, so that links between pages and to files are
those that one follows in a clone. Nothing is fetched, neither now nor when
the pages are read: mathematics is MathML, its font is a file of the site.

Sphinx, because a broken link, a page in no table of contents and a name on two
pages are warnings of it already, and because it is kept: MkDocs has had no
release since August 2024, and what is to follow it, Zensical, is at 0.1. The
reference is made from what `griffe` reads, as annotations are wanted as they
are written; `math-core` knows most of TeX and says what it does not know.
"""

import importlib.resources
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import dualrs_jax

project = 'dualrs-jax'
release = version = dualrs_jax.__version__
language = 'en'

root_doc = 'docs/index'
include_patterns = [
  'docs/**.md',
  'benchmarks/results/*.md',
  'tests/data/parity/README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
]
exclude_patterns = ['.*', 'build', 'dualrs_jax', 'runs', '**/__pycache__']
source_suffix = {'.md': 'markdown'}

extensions = [
  'myst_parser',
  'sphinx.ext.viewcode',
  'docs.extensions.errors',
  'docs.extensions.links',
  'docs.extensions.mathml',
  'docs.extensions.reference',
]
myst_enable_extensions = ['attrs_block', 'colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 4  # as GitHub makes them
python_maximum_signature_line_length = 72
python_use_unqualified_type_names = True
add_module_names = False
maximum_signature_line_length = 72
toc_object_entries_show_parents = 'hide'

smartquotes = False  # messages are searched as they are printed

html_theme = 'furo'
html_title = f'{project} {version}'
html_math_renderer = 'mathml'
html_static_path = [
  'static',
  str(
    importlib.resources.files('ziamath') / 'fonts' / 'STIXTwoMath-Regular.ttf'
  ),
]
html_css_files = ['site.css']
templates_path = ['templates']
html_additional_pages = {'index': 'first.html'}
html_copy_source = False
html_show_search_summary = False  # would be fetched, which files may not
html_show_copyright = False
