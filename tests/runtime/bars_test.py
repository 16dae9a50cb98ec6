"""Progress bars: what they say of the time that is left."""

import io

from dualrs_jax.runtime import bars


def test_the_time_of_compilation_is_not_counted(monkeypatch):
  now = [0.0]
  monkeypatch.setattr('tqdm.std.time', lambda: now[0])
  file = io.StringIO()
  bar = bars.bar('stage', unit='step', shown=True, total=101, file=file)
  with bars.compiling(bar):
    now[0] += 1000.0
    assert ', compiling]' in file.getvalue()
  for _ in range(2):  # a step a second, at once after the first
    bar.update()
    now[0] += 1.0
  bar.refresh()
  said = file.getvalue().rpartition('\r')[2]
  assert 'compiling' not in said
  assert '[00:02<01:39' in said
  bar.close()
