"""Certifies a data set with the networks that train.py left.

    python certify.py --config configs/digits.py

prints a table, and writes the rows, the table and figures below
`<workdir>/certify`. Interrupted, the same command goes on where it was. By
default votes on an image end as soon as it is decided which of the radii of the
table are certified (docs/adaptive.md). Options are fields of the configuration,
among them

    --config.certify.goal=full            the radius that all n votes give
    --config.certify.goal=radius --config.certify.radii='(0.5,)'
    --config.certify.protocol=fixed       n votes on every image
    --config.certify.smoothing=single     plain smoothing at every noise level
    --config.certify.protocol=paper       the certificate of Sun et al. (2026)
    --config.certify.task=predict         predictions without radii
    --config.certify.start=0 --config.certify.stride=5 --config.certify.count=0
    --config.certify.seed=7               instead of a fresh one
    --config.certify.label=again          another folder, for another seed or n
"""

from configs import command_line
from dualrs_jax.evaluation import certify_dataset


def main(config, workdir):
  """Certifies, then prints and draws what was found."""
  certify_dataset.certify_dataset(config, workdir)
  print(certify_dataset.report_dataset(config, workdir))


if __name__ == '__main__':
  command_line.run(main)
