import collections

from dualrs_jax.report import answers, findings, listing, subject


def test_certified_images_are_those_of_the_rows(run):
  about = subject.make(run, radii=(0.0, 0.25, 0.5))
  for at in findings.at_radii(about):
    right = [r for r in run.rows if r.correct and r.radius >= at.radius]
    wrong = [
      r
      for r in run.rows
      if r.predict >= 0 and not r.correct and r.radius >= at.radius
    ]
    assert (at.right, at.wrong) == (len(right), len(wrong))
    assert at.low <= 100 * at.right / len(run.rows) <= at.high
    assert at.right <= at.endless <= len(run.rows)


def test_everyone_who_was_given_up_has_a_cause(run):
  groups = findings.given_up(subject.make(run))
  causes = collections.Counter(r.status for r in run.rows if r.predict < 0)
  assert causes
  assert {g.cause: len(g.images) for g in groups} == causes
  assert all(0 <= group.helped <= len(group.images) for group in groups)


def test_an_image_whose_votes_all_agree_is_gained_at_every_radius(run_of):
  run = run_of(1, goal='grid', radii=[0.0, 0.5, 1.0])
  row = run.rows[0]._replace(
    label=0,
    predict=0,
    radius=0.5,
    sigma_index=1,
    estimator_estimation=(0, 100, 0),
    classifier_selection={1: (20, 0, 0, 0)},
    classifier_estimation={1: (100, 0, 0, 0)},
    classifier_cast={1: (20, 100)},
  )
  about = subject.make(run._replace(rows=[row]))
  assert [at.endless for at in findings.at_radii(about)] == [1, 1, 1]
  said = ' '.join(answers.more_votes(about))
  assert 'At r = 1: 1 image more would be' in said
  assert 'would go on helping, up to r = 1' in said
  [endless] = [c for c in listing.columns(about) if c.name == 'endless']
  assert endless.values == ['no limit seen']
  # an estimator in doubt rules out all but 0, and another label everything
  doubt = row._replace(estimator_estimation=(0, 55, 45), radius=0.0)
  about = subject.make(run._replace(rows=[doubt]))
  assert [at.endless for at in findings.at_radii(about)] == [1, 0, 0]
  about = subject.make(run._replace(rows=[row._replace(label=1)]))
  assert [at.endless for at in findings.at_radii(about)] == [0, 0, 0]
  assert 'would go on helping' not in ' '.join(answers.more_votes(about))
  # nor is one gained of whose classifier nothing is known
  row = row._replace(
    predict=-1, radius=0.0, status='hopeless', classifier_cast={1: (20, 0)}
  )
  about = subject.make(run._replace(rows=[row]))
  assert [at.endless for at in findings.at_radii(about)] == [0, 0, 0]
  assert 'it cannot be said' in ' '.join(answers.more_votes(about))


def test_cost_counts_all_votes(run):
  cost = findings.cost(subject.make(run))
  assert (cost.estimator, cost.classifier, cost.fixed) == (120, 120, 240)
  assert cost.seconds == cost.seconds_fixed == 20.0


def test_radii_of_the_table_are_never_above_those_of_the_rows(run):
  columns = {c.name: c for c in listing.columns(subject.make(run))}
  for row, told in zip(run.rows, columns['radius'].values, strict=True):
    assert told is None if row.predict < 0 else told <= row.radius < told + 2e-6


def test_fifty_thousand_rows_are_listed_and_more_are_sampled():
  assert len(subject.sample(50_000, subject.LISTED)) == 50_000
  assert subject.sample(100_001, subject.LISTED)[:3] == [0, 3, 6]
  assert len(subject.sample(50_000, subject.DETAILED)) == 500
