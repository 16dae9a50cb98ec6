"""Checks a result from its counts and settings alone, by a second route.

The statistics share no line with those that made the result: they are written
once more from the theorems of docs/theory.md and docs/sequential.md, with NumPy
and SciPy and without JAX, so that a false row passes only where both are wrong
in the same way.
"""

from dualrs_jax.verify.cohen import Votes as Votes
from dualrs_jax.verify.errors import Unverifiable as Unverifiable
from dualrs_jax.verify.result import Report as Report
from dualrs_jax.verify.result import verify as verify
