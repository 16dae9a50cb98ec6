"""The program: killed at any moment, it ends in the same weights."""

import json
import shutil
import signal

import pytest

from dualrs_jax.programs import train
from dualrs_jax.runtime import preemption, processes
from dualrs_jax.training import recipe
from tests import programs
from tests.evaluation import timeless
from tests.training import tiny


@pytest.fixture(scope='module')
def command(tmp_path_factory):
  """Starts train.py, compiled as in this process."""
  # The configuration of `tiny`, in a file as users write them.
  path = tmp_path_factory.mktemp('configs') / 'tiny_config.py'
  path.write_text('from tests.training.tiny import get_config\n')
  environment = {
    'JAX_COMPILATION_CACHE_DIR': str(
      tiny.compilation_cache_of(tmp_path_factory.getbasetemp())
    ),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
  }

  def start(*arguments):
    return programs.Program(
      *('train.py', '--config', path, *arguments), environment=environment
    )

  return start


@pytest.fixture(scope='module')
def undisturbed(command, tmp_path_factory):
  """Where a run of the same program left everything.

  A training in this process would differ by roundings: on a CPU the order of
  float32 sums depends on how many devices there are.
  """
  # The baseline is left out: it does not belong to the run's identity.
  workdir = tmp_path_factory.mktemp('undisturbed')
  ended = command('--workdir', workdir, '--config.baselines=()').end()
  programs.check([ended], [0])
  return workdir


def send_once_there(program, number, workdir, pattern):
  """Sends a signal once the program has made such a file."""
  program.until(lambda: list(workdir.glob(pattern)))
  program.send(number)


def test_killed_at_any_moment_it_ends_in_the_same_weights(
  command, undisturbed, tmp_path
):
  arguments = ('--workdir', tmp_path, '--config.baselines=()')
  for pattern in (
    'checkpoints/classifier-0/20',
    'targets/targets-1/000000040.npz',
    'checkpoints/classifier-1/*tmp*',
  ):
    killed = command(*arguments)
    send_once_there(killed, signal.SIGKILL, tmp_path, pattern)
    assert killed.end().status == -signal.SIGKILL
  status, printed, log = command(*arguments).end()
  assert status == 0, log
  tiny.assert_same_run(tmp_path, undisturbed, list(tiny.STAGES)[:3])
  shards = [
    {path.name: path.read_bytes() for path in run.glob('targets/*/*.npz')}
    for run in (tmp_path, undisturbed)
  ]
  assert len(shards[0]) == 10 + 1  # shards, and bounds
  assert shards[0] == shards[1]

  assert 'dual-agreement' in printed
  assert 'clean accuracy' in printed
  assert 'single-0.25' in printed
  assert 'figures in' in printed
  assert len(list(tmp_path.glob('certify/*/rows.tsv'))) == 3
  figures = tmp_path / 'certify' / 'dual-agreement' / 'figures'
  assert (figures / 'certified_accuracy.png').stat().st_size > 1000


@pytest.mark.slow
def test_preempted_in_every_phase_it_ends_in_the_same_weights(
  command, undisturbed, tmp_path
):
  arguments = (
    *('--workdir', tmp_path, '--config.baselines=()'),
    '--config.certify.count=40',
  )
  for pattern, said in (
    ('checkpoints/classifier-0/20', 'classifier-0 is saved at step '),
    ('targets/targets-1/000000020.npz', 'shards of targets-1 are saved'),
    ('checkpoints/estimator-1/*tmp*', 'estimator-1 is saved at step '),
    ('certify/dual-agreement/rows.tsv', 'preempted with '),
  ):
    preempted = command(*arguments)
    send_once_there(preempted, signal.SIGTERM, tmp_path, pattern)
    status, printed, log = preempted.end()
    assert status == preemption.EXIT_STATUS, log
    assert said in log
    assert log.endswith('; the same command goes on from here\n')
    assert not printed
  status, printed, log = command(*arguments).end()
  assert status == 0, log
  assert 'dual-agreement' in printed
  tiny.assert_same_weights(tmp_path, undisturbed, list(tiny.STAGES)[:3])


@pytest.mark.slow
def test_two_processes_preempted_while_they_certify(
  command, tmp_path, tmp_path_factory
):
  workdir = tmp_path / 'run'
  # They certify what one process trained, so that rows can be compared.
  shutil.copytree(tiny.trained(tmp_path_factory.getbasetemp()), workdir)
  alone = tmp_path / 'alone'
  shutil.copytree(workdir, alone)
  arguments = (
    *('--config.baselines=()', '--config.certify.seed=5'),
    '--config.certify.count=120',
  )

  def begin():
    return [
      command('--workdir', workdir, *arguments, *flags)
      for flags in programs.places(2)
    ]

  started = begin()
  for program in started:
    program.until(lambda: list(workdir.glob('certify/*/rows-*')))
  for program in started:
    program.send(signal.SIGTERM)
  ended = programs.end_all(started)
  programs.check(ended, [preemption.EXIT_STATUS] * 2)
  assert all('; the same command goes on from here' in e.log for e in ended)

  # One that begins again does not wait for the other.
  first = command(
    *('--workdir', workdir, *arguments, '--coordinator_address=nowhere:1'),
    *('--num_processes=2', '--process_id=0'),
  ).end()
  programs.check([first], [0])
  assert 'images are missing' in first.printed

  ended = programs.end_all(begin())
  programs.check(ended, [0, 0])
  assert any('certified, %' in program.printed for program in ended)
  programs.check([command('--workdir', alone, *arguments).end()], [0])
  rows = timeless.runs(workdir)
  assert rows == timeless.runs(alone)
  assert len(rows['dual-agreement']) == 120
  assert not list(workdir.glob('certify/*/rows-*'))


@pytest.mark.slow
@pytest.mark.parametrize(
  ('both', 'last', 'sentences'),
  [
    (
      '--config.finetune.batch_size=33',
      '--config.workers=0',
      [
        f'[{k}/2] error: finetune: 33 rows at a time do not divide over 2'
        ' processes; another finetune.accumulate'
        for k in range(2)
      ],
    ),
    (
      '--config.workers=0',
      '--config.checkpoint.every_steps=7',
      [
        '',
        '[1/2] error: process 0 was given another configuration:'
        ' checkpoint.every_steps is 20 there and 7 here',
      ],
    ),
  ],
)
def test_what_processes_cannot_do_together_is_said_at_the_start(
  command, tmp_path, both, last, sentences
):
  flags = programs.places(2)
  started = [
    command('--workdir', tmp_path, '--config.baselines=()', *own)
    for own in ((both, *flags[0]), (both, last, *flags[1]))
  ]
  ended = programs.end_all(started)
  assert ended[1].status == 2
  assert ended[0].status not in (0, preemption.EXIT_STATUS)
  for program, sentence in zip(ended, sentences, strict=True):
    assert sentence in program.log
  assert not (tmp_path / 'checkpoints').exists()


@pytest.mark.parametrize(
  ('arguments', 'sentence'),
  [
    (
      ['--config.classifier.stepz=1'],
      "error: unknown field of the configuration: 'stepz' Did you mean"
      ' "steps" instead of "stepz"?\n',
    ),
    (
      ['--config.rounds=0'],
      'error: rounds must be at least 1, not 0\n',
    ),
    (
      ['--config.certify.n0=0', '--config.baselines=()'],
      'error: certify: n0 must be at least 1, not 0.\n',
    ),
    (
      ['--workdir', 'taken', '--config.baselines=()'],
      'error: taken belongs to another configuration: seed is 7 there and 0'
      ' here; choose another --workdir, or another name in the configuration',
    ),
  ],
)
def test_a_mistake_is_one_sentence(command, tmp_path, arguments, sentence):
  taken = tmp_path / 'taken'
  taken.mkdir()
  other = {**recipe.identity(tiny.get_config()), 'seed': 7}
  (taken / 'settings.json').write_text(json.dumps(other))
  arguments = [tmp_path / a if a == 'taken' else a for a in arguments]
  status, printed, log = command(*arguments).end()
  assert status == 2
  assert not printed
  errors = [line for line in log.splitlines() if line.startswith('error: ')]
  assert len(errors) == 1
  assert log.count('Traceback') == 0
  expected = sentence.replace('taken', str(taken)).rstrip('\n')
  assert errors[0].startswith(expected)
  assert list(taken.iterdir()) == [taken / 'settings.json']


@pytest.mark.parametrize(
  ('certify', 'baselines', 'message'),
  [
    (
      {},
      (0.5,),
      r'among sigmas = \(0.25, 1.0\), unlike 0.5',
    ),
    ({'n0': 0}, (), 'certify: n0 must be at least 1, not 0'),
    ({'alpha': 1.5}, (), r'certify: alpha .* in \(0, 1\), not 1.5'),
    ({'start': 1000}, (), 'certify.start = 1000 leaves none of the 500 images'),
    ({'smoothing': 'cascade'}, (), "smoothing = 'cascade' is for certify.py"),
    ({'classifier': 'classifier-0'}, (), "classifier-0' is for certify.py"),
    ({'levels': (0.25,)}, (), r'levels = \(0.25,\) is for certify.py'),
  ],
)
def test_what_would_end_the_certification_is_said_before_the_training(
  certify, baselines, message
):
  config = tiny.get_config().unlock()
  config.baselines = baselines
  config.certify.update(certify)
  with pytest.raises(ValueError, match=message):
    train.check(config, processes.Place())
