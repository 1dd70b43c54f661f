"""The version of patauth: here alone, for the package, the build, the command line and openapi.json."""

__version__ = "0.1.0"
