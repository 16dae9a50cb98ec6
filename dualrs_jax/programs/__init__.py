"""The programs: flags in, one call of the library, a summary out."""
