"""Hold the version of patauth. The package, the build, the command line and openapi.json read it here."""

__version__ = "0.1.0"
