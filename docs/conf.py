"""How Sphinx builds the documentation: `python -m sphinx -W docs build/site`."""
import pathlib
import sys
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import dualrs_jax
project = 'dualrs-jax'
release = version = dualrs_jax.__version__
extensions = ['myst_parser', 'docs.extensions.mathml']
root_doc = 'docs/index'
include_patterns = ['docs/**.md', 'benchmarks/results/*.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'tests/data/parity/README.md']
exclude_patterns = ['.*', 'runs', 'build', 'dualrs_jax', '**/__pycache__']
source_suffix = {'.md': 'markdown'}
myst_enable_extensions = ['dollarmath', 'colon_fence']
myst_heading_anchors = 3
html_theme = 'furo'
html_math_renderer = 'mathml'
