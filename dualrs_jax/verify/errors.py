"""What ends a verification before it has looked at the rows."""


class Unverifiable(ValueError):
  """A file that is no result, or one that cannot be checked, in a sentence."""
