"""Published checkpoints: importers, one module per family of files.

`python -m dualrs_jax.pretrained --help` converts a checkpoint once; `load`
reads the result.
"""

from dualrs_jax.pretrained.converted import load as load
from dualrs_jax.pretrained.matching import ImportFailure as ImportFailure
