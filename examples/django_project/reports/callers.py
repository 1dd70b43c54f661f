"""Which user of Django's a caller is."""

from django.contrib.auth.models import User

from patauth import Principal


def user_of(principal: Principal) -> User | None:
    """Return the user who owns the PAT: the owner's id is their name."""
    return User.objects.filter(username=principal.subject.id).first()
