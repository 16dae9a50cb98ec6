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

import hashlib
import importlib.resources
import importlib.util
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import dualrs_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]

project = 'dualrs-jax'
release = version = dualrs_jax.__version__
language = 'en'

root_doc = 'docs/index'
include_patterns = [
  'docs/**.md',
  'notebooks/*.py',
  'benchmarks/results/*.md',
  'tests/data/parity/README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
]
exclude_patterns = ['.*', 'build', 'dualrs_jax', 'runs', '**/__pycache__']
source_suffix = {'.md': 'myst-nb'}

extensions = [
  'myst_nb',
  'sphinx.ext.viewcode',
  'docs.extensions.errors',
  'docs.extensions.links',
  'docs.extensions.mathml',
  'docs.extensions.pictures',
  'docs.extensions.reference',
]
myst_enable_extensions = ['attrs_block', 'colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 4  # as GitHub makes them
# Notebooks are run when the site is built, with the budget of the tests. What
# they showed is kept beside the site, for as long as neither they nor the
# library change.
os.environ['DUALRS_SMALL'] = '1'
os.environ['PYTHONPATH'] = os.pathsep.join(
  [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
)
nb_custom_formats = {'.py': ['jupytext.reads', {'fmt': 'py:percent'}]}
nb_execution_mode = 'cache'
nb_execution_timeout = 600  # seconds a cell, on a busy machine
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = 'remove'  # bars of progress
if importlib.util.find_spec('torch') is None:
  nb_execution_excludepatterns = ['notebooks/torch_model.py']

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


def setup(app):
  """Keeps what notebooks showed apart by the library that they ran on."""
  digest = hashlib.sha256()
  for folder in ('dualrs_jax', 'configs'):
    for path in sorted(ROOT.glob(f'{folder}/**/*.py')):
      digest.update(path.read_bytes())
  folder = pathlib.Path(app.outdir).parent / '.notebooks'
  app.config.nb_execution_cache_path = str(folder / digest.hexdigest()[:16])
