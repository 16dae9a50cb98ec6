"""Certifies a data set with the networks that train.py left.

    python certify.py --config configs/digits.py

prints a table, and writes the rows, the table, figures and report.html below
`<workdir>/certify`. Interrupted, the same command goes on where it was. By
default votes on an image end as soon as it is decided which of the radii of the
table are certified (docs/adaptive.md). Options are fields of the configuration,
among them

    --config.certify.goal=full            the radius that all n votes give
    --config.certify.goal=radius --config.certify.radii='(0.5,)'
    --config.certify.protocol=fixed       n votes on every image
    --config.certify.smoothing=single     plain smoothing at every noise level
    --config.certify.smoothing=cascade    the largest level that is sure answers
    --config.certify.smoothing=cascade --config.certify.levels='(0.25, 0.5)'
    --config.certify.smoothing=distance --config.certify.protocol=fixed
    --config.certify.protocol=paper       the certificate of Sun et al. (2026)
    --config.certify.task=predict         predictions without radii
    --config.certify.protocol=open        votes can be added: later, a larger n
    --config.certify.goal=full --config.certify.tolerance=0.02
    --config.certify.start=0 --config.certify.stride=5 --config.certify.count=0
    --config.certify.seed=7               instead of a fresh one
    --config.certify.label=again          another folder, for another seed or n

Several processes that see one working directory share the images; they need
not run at the same time, nor on one machine (docs/evaluating.md):

    python certify.py --config ... --num_processes=2 --process_id=0
    python certify.py --config ... --num_processes=2 --process_id=1

The one that ends last merges their rows and prints the table. Where one has
failed,

    python certify.py --config ... --merge

merges what there is, and says what is missing.
"""

import sys

from absl import flags

from dualrs_jax.evaluation import certify_dataset, merge_dataset
from dualrs_jax.programs import command_line, reports
from dualrs_jax.runtime import cluster, output, processes

#: Of a merge that finds images missing.
INCOMPLETE = 3

_MERGE = flags.DEFINE_bool(
  'merge', False, 'Merges the rows of several processes, certifies nothing.'
)


def run() -> None:
  """Runs the program with the arguments of the command line."""
  command_line.run(main, find_place, doc=__doc__, own=[_MERGE.name])


def main(config, workdir, place):
  """Certifies, then prints and draws what was found."""
  if not _MERGE.value:
    after_row = reports.while_running(config, workdir, place)
    certify_dataset.certify_dataset(config, workdir, place, after_row)
    if not processes.here().first:
      return
  missing = merge_dataset.merge_dataset(config, workdir, partly=_MERGE.value)
  if any(missing.values()):
    output.say(merge_dataset.what_is_missing(missing))
    if _MERGE.value:
      output.say(
        'their processes do them with the same command again, or any others'
        ' with another number of processes'
      )
      sys.exit(INCOMPLETE)
    output.say(
      'they are the shares of other processes; the last prints the table'
    )
  else:
    output.say(certify_dataset.report_dataset(config, workdir))
    output.say(reports.write(config, workdir))


def find_place(config, workdir):
  """How a process finds its place: to certify its images it needs no other."""
  del workdir
  if _MERGE.value:
    return lambda *_, **__: processes.Place()
  together = config.certify.spread == 'votes'
  return cluster.start if together else cluster.locate
