"""The program as a user runs it: a process of its own."""

import json
import signal

import pytest

from dualrs_jax import checkpoints, models
from tests import programs
from tests.evaluation import timeless

CONFIG = """
from configs import digits

SIZES = {'channels': (4,), 'kernels': (8,), 'strides': (8,), 'hidden': 8}

def get_config():
  config = digits.get_config().unlock()
  for role in ('classifier', 'estimator'):
    config.model[role].update(SIZES)
  config.certify.update(n0=10, n=50, chunk_size=60, count=2)
  return config.lock()
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp('configs') / 'tiny.py'
  path.write_text(CONFIG)
  return path


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """Random networks, saved as training saves them."""
  directory = tmp_path_factory.mktemp('workdir')
  for stage, width in (('classifier-1', 10), ('estimator-1', 3)):
    model = models.create(
      'cnn',
      num_classes=width,
      image_shape=(32, 32, 1),
      seed=width,
      channels=(4,),
      kernels=(8,),
      strides=(8,),
      hidden=8,
    )
    with checkpoints.Saver(directory / 'checkpoints' / stage, keep=1) as saver:
      state = {checkpoints.MODEL: checkpoints.model_state(model)}
      saver.save(1, state, {})
  return directory


@pytest.fixture
def fresh(workdir, tmp_path):
  """The same networks in a directory without certifications."""
  (tmp_path / 'checkpoints').symlink_to(workdir / 'checkpoints')
  return tmp_path


@pytest.fixture(scope='module')
def compiled(tmp_path_factory):
  """What keeps programs for the next process."""
  return {
    'JAX_COMPILATION_CACHE_DIR': str(tmp_path_factory.mktemp('cache')),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
  }


def start(config, workdir, *options, environment=None):
  return programs.Program(
    *('certify.py', f'--config={config}', f'--workdir={workdir}', *options),
    environment=environment,
  )


def send_once_there(program, number, path, rows):
  """Sends a signal once a file holds so many rows."""
  program.until(lambda: path.exists() and path.read_text().count('\n') > rows)
  program.send(number)


def ended(program, status):
  """What a program printed and logged, if it ended like that."""
  found = program.end()
  programs.check([found], [status])
  return found.printed, found.log


def test_certifies_prints_the_table_and_names_the_figures(config, workdir):
  printed, log = ended(start(config, workdir), 0)
  assert printed.startswith('dual-agreement\n  2 images of digits (test)')
  assert 'certified, %' in printed
  assert 'figures: certified_accuracy, chosen_levels' in printed
  assert 'at r=0, ' in log  # the progress bar
  rows = workdir / 'certify' / 'dual-agreement' / 'rows.tsv'
  assert len(rows.read_text().splitlines()) == 3


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (['--workdir=/nonexistent'], 'no checkpoint in /nonexistent'),
    (['--config.certify.task=certfy'], "did you mean 'certify'"),
    (['--config.certify.coutn=5'], 'count'),
  ],
)
def test_mistakes_are_told_in_one_sentence(config, workdir, options, message):
  printed, log = ended(start(config, workdir, *options), 2)
  [line] = log.strip().splitlines()
  assert message in line
  assert printed == ''


FIXED = (
  '--config.certify.protocol=fixed',
  '--config.certify.n=800',
  '--config.certify.count=12',
  '--config.certify.chunk_size=500',
)


@pytest.fixture
def undisturbed(config, workdir, compiled, tmp_path_factory):
  """Certifies in one process, left alone; returns the file of rows.

  With more devices, as in this process, the votes of a network on a CPU may
  differ by the order of float32 sums.
  """

  def run(seed, *options):
    directory = tmp_path_factory.mktemp('undisturbed')
    (directory / 'checkpoints').symlink_to(workdir / 'checkpoints')
    options = (f'--config.certify.seed={seed}', *options)
    ended(start(config, directory, *options, environment=compiled), 0)
    [path] = directory.glob('certify/*/rows.tsv')
    return path

  return run


@pytest.mark.slow
def test_killed_merged_and_preempted_it_ends_in_the_same_rows(
  config, fresh, compiled, undisturbed
):
  def begin(*options):
    return start(config, fresh, *FIXED, *options, environment=compiled)

  folder = fresh / 'certify' / 'dual-agreement-fixed'
  first, second = (begin(*k) for k in programs.places(2, joined=False))
  send_once_there(second, signal.SIGKILL, folder / 'rows-1-of-2.tsv', 1)
  ended(second, -signal.SIGKILL)
  printed, _ = ended(first, 0)
  assert 'they are the shares of other processes; the last prints' in printed
  assert (folder / 'rows-0-of-2.tsv').read_text().count('\n') == 1 + 6

  printed, _ = ended(begin('--merge'), 3)
  kept = timeless.rows(folder / 'rows.tsv')
  there = {int(row[0]) for row in kept}
  missing = [idx for idx in range(12) if idx not in there]
  assert 0 < len(missing) < 6
  assert printed == (
    f'dual-agreement-fixed: {len(missing)} images are missing:'
    f' {", ".join(map(str, missing))}\n'
    'their processes do them with the same command again, or any others with'
    ' another number of processes\n'
  )
  assert len(list(folder.glob('rows-*'))) == 2, 'each keeps its share'

  alone = begin()
  send_once_there(alone, signal.SIGTERM, folder / 'rows.tsv', len(kept) + 1)
  _, log = ended(alone, 75)
  kept = timeless.rows(folder / 'rows.tsv')
  assert f'preempted with {len(kept)} of 12 images in {folder}; the same' in log
  assert len(kept) < 12

  printed, _ = ended(begin(), 0)
  assert printed.startswith('dual-agreement-fixed\n  12 images of digits')
  seed = json.loads((fresh / 'certify' / 'seed.json').read_text())['seed']
  expected = undisturbed(seed, *FIXED)
  assert timeless.rows(folder / 'rows.tsv') == timeless.rows(expected)
  assert [path.name for path in folder.glob('rows*')] == ['rows.tsv']


@pytest.mark.slow
def test_four_processes_at_the_same_moment(
  config, fresh, compiled, undisturbed
):
  started = [
    start(
      *(config, fresh, '--config.certify.count=10', *flags),
      environment=compiled,
    )
    for flags in programs.places(4, joined=False)
  ]
  printed = [ended(process, 0)[0] for process in started]
  assert any('certified, %' in text for text in printed)
  folder = fresh / 'certify' / 'dual-agreement'
  assert [path.name for path in folder.glob('rows*')] == ['rows.tsv']
  seed = json.loads((fresh / 'certify' / 'seed.json').read_text())['seed']
  expected = timeless.rows(undisturbed(seed, '--config.certify.count=10'))
  assert timeless.rows(folder / 'rows.tsv') == expected


@pytest.mark.slow
def test_on_a_cluster_the_first_one_is_killed_and_the_other_ends_its_images(
  config, fresh, compiled, undisturbed
):
  def begin(index, *options):
    cluster = {
      'SLURM_JOB_ID': '7',
      'SLURM_STEP_NODELIST': 'no-such-host',
      'SLURM_NTASKS': '2',
      'SLURM_PROCID': f'{index}',
      'SLURM_LOCALID': f'{index}',
    }
    return start(
      *(config, fresh, *FIXED, '--config.distributed=auto', *options),
      environment=compiled | cluster,
    )

  folder = fresh / 'certify' / 'dual-agreement-fixed'
  first, second = begin(0), begin(1)
  send_once_there(first, signal.SIGKILL, folder / 'rows-0-of-2.tsv', 1)
  ended(first, -signal.SIGKILL)
  printed, log = ended(second, 0)
  assert 'images are missing: ' in printed
  assert 'image/s' not in log, 'the first one alone draws progress'
  assert (folder / 'rows-1-of-2.tsv').read_text().count('\n') == 1 + 6

  printed, _ = ended(begin(0), 0)
  assert 'dual-agreement-fixed\n  12 images of digits' in printed
  seed = json.loads((fresh / 'certify' / 'seed.json').read_text())['seed']
  expected = undisturbed(seed, *FIXED)
  assert timeless.rows(folder / 'rows.tsv') == timeless.rows(expected)


@pytest.mark.slow
def test_votes_of_two_processes_preempted_and_done_again(
  config, fresh, compiled, undisturbed
):
  def begin():
    return [
      start(
        *(config, fresh, *FIXED, *flags),
        '--config.certify.spread=votes',
        '--config.certify.seed=3',
        environment=compiled,
      )
      for flags in programs.places(2)
    ]

  folder = fresh / 'certify' / 'dual-agreement-fixed'
  first, second = begin()
  send_once_there(second, signal.SIGTERM, folder / 'rows.tsv', 2)
  for index, process in enumerate((first, second)):
    assert f'[{index}/2] preempted with' in ended(process, 75)[1]
  first, second = begin()
  printed, log = ended(first, 0)
  assert 'dual-agreement-fixed\n  12 images of digits' in printed
  assert 'image/s' in log
  printed, log = ended(second, 0)
  assert 'dual-agreement-fixed' not in printed
  assert 'image/s' not in log
  expected = timeless.rows(undisturbed(3, *FIXED))
  assert timeless.rows(folder / 'rows.tsv') == expected
  assert [path.name for path in folder.glob('rows*')] == ['rows.tsv']
