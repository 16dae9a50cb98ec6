"""An import only goes down: the table of CONTRIBUTING.md, read from the code.

Every module of the package has a place in `MAY_IMPORT`; a new module fails
here until it is given one. Imports inside functions count like any other.
"""

import ast
import importlib
import pathlib
import subprocess
import sys
import tomllib

import pytest

import dualrs_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'dualrs_jax'

THEORY = {
  'adaptive',
  'base',
  'boundaries',
  'cascade',
  'cascade_images',
  'cascade_plans',
  'cascade_prediction',
  'classifiers',
  'compilers',
  'composition',
  'confidence',
  'decisions',
  'budgets',
  'plans',
  'denoising',
  'diffusion',
  'distance_levels',
  'dual',
  'dual_prediction',
  'examples',
  'experts',
  'fallbacks',
  'folders',
  'host',
  'host_calls',
  'host_votes',
  'vote_batches',
  'independence',
  'lattice',
  'lattice_law',
  'look_bounds',
  'lookups',
  'majorities',
  'metrics',
  'mixture',
  'training_distances',
  'noise',
  'predicting',
  'pursuit',
  'posterior',
  'resizing',
  'scheduler',
  'sequential',
  'sharding',
  'smoothing',
  'table_cache',
  'validation',
  'varying',
  'voting',
  'xla_flags',
}

#: What each module, or each package as a whole, may import from outside
#: itself. Modules of one package may import each other. Practice may import all
#: of the theory; whatever else is listed has somebody who imports it.
MAY_IMPORT = {
  # 0
  'base': set(),
  'fields': set(),
  'folders': set(),
  'shipped': set(),
  # 1
  'confidence': set(),
  'boundaries': {'confidence'},
  'table_cache': {'folders'},
  'sequential': {'boundaries', 'confidence', 'table_cache'},
  'composition': {'base', 'confidence'},
  'metrics': {'base'},
  'noise': set(),
  'lattice_law': set(),
  'lattice': {'lattice_law'},
  'resizing': set(),
  'diffusion': set(),
  'posterior': set(),
  'denoising': {'compilers', 'diffusion', 'host', 'resizing'},
  'sharding': set(),
  'xla_flags': set(),
  'validation': {'confidence'},
  'host_calls': {'validation'},
  'host': {'host_calls', 'validation'},
  'host_votes': {'base', 'host', 'noise'},
  'compilers': {'host', 'xla_flags'},
  'classifiers': {'base', 'host'},
  'voting': {
    'base',
    'classifiers',
    'compilers',
    'host',
    'host_votes',
    'noise',
    'sharding',
  },
  'independence': {
    'base',
    'classifiers',
    'compilers',
    'noise',
    'validation',
    'voting',
  },
  'smoothing': {
    'base',
    'confidence',
    'noise',
    'validation',
    'voting',
  },
  'experts': {'base', 'classifiers'},
  'dual': {
    'base',
    'classifiers',
    'compilers',
    'composition',
    'confidence',
    'experts',
    'noise',
    'validation',
    'voting',
  },
  'dual_prediction': {
    'base',
    'classifiers',
    'compilers',
    'dual',
    'experts',
    'noise',
    'smoothing',
    'validation',
    'voting',
  },
  'mixture': {'confidence'},
  'lookups': {'mixture', 'sequential'},
  'budgets': {'confidence', 'lookups'},
  'plans': {
    'base',
    'budgets',
    'composition',
    'confidence',
    'look_bounds',
    'lookups',
    'validation',
  },
  'pursuit': {'look_bounds', 'lookups', 'majorities', 'noise', 'plans'},
  'decisions': {
    'base',
    'fallbacks',
    'look_bounds',
    'lookups',
    'noise',
    'plans',
    'pursuit',
  },
  'vote_batches': {
    'base',
    'classifiers',
    'compilers',
    'decisions',
    'host',
    'host_votes',
    'noise',
    'sharding',
    'voting',
  },
  'examples': {'validation', 'voting'},
  'scheduler': {
    'classifiers',
    'examples',
    'noise',
    'pursuit',
    'vote_batches',
  },
  'adaptive': {
    'base',
    'classifiers',
    'composition',
    'decisions',
    'dual',
    'examples',
    'vote_batches',
    'lookups',
    'noise',
    'plans',
    'scheduler',
    'sharding',
    'validation',
  },
  'varying': set(),
  'training_distances': {'compilers'},
  'distance_levels': {
    'base',
    'confidence',
    'training_distances',
    'noise',
    'validation',
    'varying',
    'voting',
  },
  'majorities': {'base', 'confidence'},
  'cascade_prediction': {'base', 'confidence', 'majorities'},
  'fallbacks': {'base', 'composition', 'confidence', 'majorities'},
  'look_bounds': {'base', 'confidence', 'fallbacks', 'lookups', 'majorities'},
  'cascade': {
    'base',
    'cascade_prediction',
    'classifiers',
    'compilers',
    'experts',
    'majorities',
    'noise',
    'smoothing',
    'validation',
    'voting',
  },
  'cascade_plans': {
    'base',
    'budgets',
    'confidence',
    'look_bounds',
    'lookups',
    'majorities',
    'noise',
    'plans',
    'pursuit',
    'validation',
  },
  'cascade_images': {
    'base',
    'classifiers',
    'cascade_plans',
    'examples',
    'experts',
    'vote_batches',
    'noise',
    'scheduler',
    'sharding',
    'validation',
  },
  'predicting': {
    'adaptive',
    'base',
    'composition',
    'examples',
    'lookups',
    'noise',
  },
  # 2a
  'named': {'folders'},
  'models': {'host', 'host_calls', 'named'},
  'data': {'folders', 'named'},
  'checkpoints': {'folders', 'runtime'},
  'runtime': {'folders'},
  # 2b
  'arrays': THEORY | {'runtime'},
  'training': THEORY | {'checkpoints', 'data', 'models', 'runtime'},
  'evaluation': THEORY | {'checkpoints', 'data', 'runtime'},
  'pretrained': {'checkpoints', 'folders', 'models', 'named', 'runtime'},
  # checks what the others made, and shares no statistics with them
  'verify': {'folders', 'runtime'},
  'networks': {
    'denoising',
    'diffusion',
    'host',
    'models',
    'named',
    'pretrained',
  },
  # to look at, of what the loops leave
  'report': {
    'data',
    'evaluation',
    'folders',
    'metrics',
    'noise',
    'runtime',
    'training',
    'verify',
  },
  # what the loops would do, and nothing of it done
  'cost': {
    'data',
    'evaluation',
    'folders',
    'models',
    'pretrained',
    'runtime',
    'shipped',
    'training',
  },
  # command lines: flags in, one call of the library, a summary out
  'programs': {
    'checkpoints',
    'data',
    'evaluation',
    'folders',
    'report',
    'runtime',
    'shipped',
    'training',
  },
  'train': {'programs'},
  'certify': {'programs'},
  'forecast': {'programs'},
  # the door of the package opens on the theory alone
  '': THEORY | {'arrays'},
}

#: Level 3: these join stages and practice, and they alone receive `config`.
LOOPS = {
  'training.recipe': {'networks'},
  'training.run': {'networks'},
  'training.fitting': {'networks'},
  'training.loop': {'networks'},
  'evaluation.run_settings': {'networks'},
  'evaluation.run_inputs': {'networks', 'training'},
  'evaluation.certify_dataset': {'training'},
  'evaluation.merge_dataset': set(),
  'evaluation.warned': set(),
  'evaluation.refused': {'networks', 'training'},
  'cost.plan': set(),
}

#: Installed packages that the theory may use.
THEORY_REQUIRES = {'jax', 'jaxtyping', 'numpy', 'scipy'}


def module_name(path: pathlib.Path) -> str:
  parts = path.relative_to(PACKAGE).with_suffix('').parts
  return '.'.join(part for part in parts if part != '__init__')


MODULES = {module_name(path): path for path in PACKAGE.rglob('*.py')}


def imported(path: pathlib.Path) -> set[str]:
  """Full names of the modules that a file imports, lazily or not."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text(), str(path))):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: imports are absolute here'
      for alias in node.names:
        full = f'{node.module}.{alias.name}'
        inside = full.removeprefix('dualrs_jax.')
        is_module = full != inside and inside in MODULES
        names.add(full if is_module else str(node.module))
  return names


def home(name: str) -> str:
  """The row of the table: the top-level module or the package."""
  return name.split('.')[0]


def homes(name: str) -> set[str]:
  """The rows of the table that a module imports from."""
  return {
    home(target.removeprefix('dualrs_jax.'))
    for target in imported(MODULES[name])
    if home(target) == 'dualrs_jax'
  }


@pytest.mark.parametrize('name', sorted(MODULES))
def test_imports_only_go_down(name):
  assert home(name) in MAY_IMPORT, f'give {name} a place in the table'
  allowed = MAY_IMPORT[home(name)] | {home(name)} | LOOPS.get(name, set())
  for target in imported(MODULES[name]):
    if home(target) == 'dualrs_jax':
      inside = target.removeprefix('dualrs_jax').removeprefix('.')
      assert inside or not name, f'{name} imports the door of the package'
      assert home(inside) in allowed, f'{name} must not import {target}'


@pytest.mark.parametrize('name', sorted(MAY_IMPORT))
def test_what_may_be_imported_is(name):
  allowed = MAY_IMPORT[name]
  if allowed >= THEORY:
    allowed = allowed - THEORY
  assert allowed <= {
    target
    for module in MODULES
    if home(module) == name
    for target in homes(module)
  }


@pytest.mark.parametrize('name', sorted(LOOPS))
def test_what_a_loop_may_import_it_does(name):
  assert LOOPS[name] <= homes(name)


@pytest.mark.parametrize('name', sorted(THEORY & set(MODULES)))
def test_theory_needs_few_packages(name):
  outside = {home(target) for target in imported(MODULES[name])}
  outside -= set(sys.stdlib_module_names) | {'dualrs_jax'}
  assert outside <= THEORY_REQUIRES


@pytest.mark.parametrize(
  'name', sorted(name for name in MODULES if home(name) == 'verify')
)
def test_verification_needs_numpy_and_scipy_alone(name):
  outside = {home(target) for target in imported(MODULES[name])}
  outside -= set(sys.stdlib_module_names) | {'dualrs_jax'}
  assert outside <= {'numpy', 'scipy'}


@pytest.mark.parametrize('name', sorted(MODULES))
def test_command_line_packages_stay_at_the_top(name):
  outside = {home(target) for target in imported(MODULES[name])}
  if home(name) != 'programs':
    assert not outside & {'absl', 'ml_collections'}
  if home(name) != 'evaluation':
    assert 'matplotlib' not in outside


@pytest.mark.parametrize('name', sorted(MODULES))
def test_configuration_stops_at_the_loops(name):
  for node in ast.walk(ast.parse(MODULES[name].read_text())):
    if isinstance(node, ast.FunctionDef):
      arguments = {argument.arg for argument in node.args.args}
      arguments |= {argument.arg for argument in node.args.kwonlyargs}
      if 'config' in arguments:
        allowed = name in LOOPS or home(name) == 'programs'
        assert allowed, f'{name}.{node.name} receives `config`'


def test_packages_of_the_distribution_are_all_listed():
  settings = tomllib.loads((ROOT / 'pyproject.toml').read_text())
  found = {
    '.'.join(path.parent.relative_to(ROOT).parts)
    for path in PACKAGE.rglob('*.py')
  }
  listed = set(settings['tool']['setuptools']['packages'])
  assert listed == {*found, 'dualrs_jax.configs'}


def test_the_door_knows_where_each_of_its_names_is():
  """What type checkers read and what is looked up are the same."""
  tree = ast.parse((PACKAGE / '__init__.py').read_text())
  told = {
    alias.name: str(node.module)
    for node in ast.walk(tree)
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
    if str(node.module).startswith('dualrs_jax.')
  }
  assert told
  for name in told:
    found = getattr(dualrs_jax, name)
    assert found is getattr(importlib.import_module(told[name]), name)
  assert {*told} == {*dualrs_jax._HOMES}
  assert {*told} <= {*dir(dualrs_jax)}
  with pytest.raises(AttributeError, match="no attribute 'certifi'"):
    _ = dualrs_jax.certifi


def test_importing_the_library_is_light():
  heavy = ['flax', 'orbax', 'tensorflow_datasets', 'matplotlib', 'tensorboardX']
  code = (
    f'import sys, dualrs_jax; print([m for m in {heavy} if m in sys.modules])'
  )
  result = subprocess.run(
    [sys.executable, '-c', code],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
  )
  assert result.stdout.strip() == '[]'


def test_the_programs_start_without_what_only_some_runs_need():
  absent = ['sklearn', 'matplotlib', 'tensorboardX', 'tensorflow_datasets']
  code = (
    f'import sys; sys.modules.update(dict.fromkeys({absent}))\n'
    'import dualrs_jax.programs.train, dualrs_jax.programs.certify\n'
    'import dualrs_jax.report.__main__, dualrs_jax.cost.__main__'
  )
  subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)
