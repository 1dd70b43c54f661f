"""The Django app: its system checks, and the command `manage.py patauth`. It has no models."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class PatAuthConfig(AppConfig):
    """Registers the system checks."""

    name = "patauth.django"
    label = "patauth"
    verbose_name = "patauth"

    def ready(self) -> None:
        """Register the checks."""
        from .checks import check_patauth

        checks.register(check_patauth, checks.Tags.security)
