"""What certification leaves on the disk follows, computed the other way."""

import jax
import numpy as np
import pytest

from dualrs_jax.evaluation import certify_source
from dualrs_jax.verify import verify

METHODS = {
  'fixed': {},
  'adaptive': {'goal': 'grid', 'radii': [0.0, 0.25], 'noise': 'lattice'},
  'predictions': {'task': 'predict', 'n0': None, 'certificate': None},
}


@pytest.mark.parametrize('method', METHODS)
def test_the_rows_of_a_run_follow(
  estimator, classifier, source, settings, tmp_path, method
):
  rows = certify_source.certify_source(
    estimator,
    classifier,
    source,
    tmp_path / 'run',
    settings=settings | METHODS[method],
    seed=11,
    chunk_size=60,
    report_radii=(0.0,),
    positions=np.arange(6),
    devices=jax.local_devices()[:1],
  )
  report = verify(tmp_path / 'run' / certify_source.ROWS)
  assert report.problems == []
  assert report.record is not None
  assert report.record['images'] == len(rows) == 6
  assert report.record['missing_images'] == 0
  weights = report.record['networks']['weights']
  assert weights['classifier'] == certify_source.fingerprint(classifier)
