"""A plugin of pytest that lets no test be skipped: `-p tests.no_skips`.

It is for a place where everything that tests need is installed, so that a
skipped test means that it is not.
"""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
  return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
  return _failed_if_skipped((yield))


def _failed_if_skipped(report):
  if report.skipped and not hasattr(report, 'wasxfail'):
    report.outcome = 'failed'
    report.longrepr = f'not allowed here: {report.longrepr[-1]}'
  return report
