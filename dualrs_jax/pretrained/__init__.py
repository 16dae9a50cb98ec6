"""Importers of published checkpoints, one module per family of files."""

from dualrs_jax.pretrained.matching import ImportFailure as ImportFailure
