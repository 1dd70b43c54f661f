"""Authorization values, token headers, and ids with secrets: mutated from right ones.

Each credential has one spelling. A second reading of RFC 7617 and RFC 6750, on decoded values, says which
inputs have it; exactly these are accepted, and each for its own PAT.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from random import Random
from urllib.parse import quote, unquote_to_bytes
from wsgiref.util import setup_testing_defaults

from patauth import InvalidCredentials, InvalidRequest, Owner, PatAuthMiddleware
from patauth.model import credentials
from patauth.model.address import UNKNOWN
from patauth.model.credentials import MAX_AUTHORIZATION
from tests.fuzz.search import Target
from tests.fuzz.spoil import ODD_TEXTS, spoiled
from tests.fuzz.worlds import authority_of, same_secrets
from tests.support.authorities import issue
from tests.support.wsgi import Echo

HEADER = "HTTP_X_API_KEY"
HEX = set("0123456789abcdef")

Given = tuple[str, str, str]  # the way in, and one or two texts


class Credentials(Target):
    """Sends credentials in all ways that they can be sent."""

    name = "credentials"

    def __init__(self) -> None:
        super().__init__()
        with same_secrets():
            self.authority = authority_of(self.stack, secret_key=bytes(32))
            made = [issue(self.authority, owner=Owner(one), never_expires=True) for one in ("alice", "bob")]
            access = [self.authority.exchange(one.pat.id, one.secret).value for one in made]
        form = self.authority.operations.format
        self.secrets = {one.pat.id: one.secret for one in made}
        self.pat_tokens = {one.token: one.pat.id for one in made}  # these may be passwords of Basic, too
        self.tokens = self.pat_tokens | {one: one[5:37] for one in access}
        alice, bob = self.secrets
        self.wrong_secrets = [form.secret_text(bytes(32)), form.secret_text(b"\xff" * 32)]
        self.wrong_tokens = [
            form.token_text(alice, bytes(32)),
            form.token_text("0" * 32, bytes(32)),
            credentials._with_check(access[0][:-6].replace(alice, bob)),
            credentials._with_check(made[0].token[:-6].replace(alice, bob)),
            credentials._with_check(access[0][:38] + "z" * 43),
        ]
        self.echo = Echo()
        self.app = PatAuthMiddleware(self.echo, self.authority, token_headers=["X-Api-Key"], surfaces=[])

    # -- making inputs --------------------------------------------------------------------------------

    def generate(self, chance: Random) -> Given:
        way = chance.choice(("authorization", "authorization", "form", "gate", "header", "basic", "bearer"))
        if way == "basic":
            return way, self.user(chance), self.password(chance)
        if way == "bearer":
            return way, self.token(chance), ""
        if way == "header":
            return way, latin(self.token(chance)), latin(self.value(chance)) if chance.random() < 0.2 else ""
        value = self.value(chance)
        return way, latin(value) if way == "gate" else value, ""

    def value(self, chance: Random) -> str:
        """Return an Authorization value."""
        scheme = chance.choice(
            ("Basic", "Basic", "Bearer", "Bearer", "basic", "BASIC", "bEARER", "Digest", "")
        )
        if chance.random() < 0.05:
            scheme = spoiled(chance, scheme)
        blank = chance.choice((" ",) * 9 + ("  ", "   ", "\t", " \t", "", "\n ", "\u00a0", " " * 900))
        rest = self.token(chance) if scheme.lower() == "bearer" else self.pair(chance)
        whole = scheme + blank + rest
        if chance.random() < 0.1:
            whole += chance.choice((", ", ",", " ", "; ", "\n")) + chance.choice(("", rest, whole))
        if chance.random() < 0.15:
            whole = spoiled(chance, whole)
        return (
            chance.choice(("", "", "", "", "", " ", "\t", "\n"))
            + whole
            + chance.choice(("",) * 9 + (" ", "\n", "="))
        )

    def pair(self, chance: Random) -> str:
        """Return the base64 of a user name and a password, in one of its spellings."""
        user, password = self.user(chance), self.password(chance)
        if chance.random() < 0.15:
            user, password = (percent_encoded(chance, one) for one in (user, password))
        data = f"{user}{chance.choice((':', ':', ':', ':', ':', '::', ''))}{password}".encode(
            "utf-8", "surrogatepass"
        )
        if chance.random() < 0.05:
            data = spoiled(chance, data)
        while chance.random() < 0.2:
            data += chance.choice((b" ", b"\0", b"\n", b""))  # which also moves the padding
        text = base64.b64encode(data).decode()
        match chance.randrange(12):
            case 0:
                return text.rstrip("=")
            case 1:
                return text + chance.choice("=A ")
            case 2:
                return base64.urlsafe_b64encode(data).decode()
            case 3:
                return base64.encodebytes(data).decode()
            case 4:
                last = text.rstrip("=")
                return last[:-1] + chr(ord(last[-1]) ^ 1) + text[len(last) :] if last else text
            case 5:
                return spoiled(chance, text)
        return text

    def user(self, chance: Random) -> str:
        usual = chance.choice((*self.secrets, "__token__", "", "0" * 32))
        return self.maybe_spoiled(chance, usual, list(self.secrets))

    def password(self, chance: Random) -> str:
        known = [*self.secrets.values(), *self.tokens]
        return self.maybe_spoiled(chance, chance.choice((*known, *known, *self.wrong_secrets)), known)

    def token(self, chance: Random) -> str:
        known = list(self.tokens)
        return self.maybe_spoiled(chance, chance.choice((*known, *known, *self.wrong_tokens)), known)

    def maybe_spoiled(self, chance: Random, text: str, others: list[str]) -> str:
        """Return a text as it is, spoiled, or spoiled with a right checksum."""
        luck = chance.random()
        if luck < 0.5 or not text:
            return text
        if luck < 0.6:
            return text[:1].swapcase() + text[1:] if luck < 0.55 else text.swapcase()
        changed = spoiled(chance, text, others)
        fits = luck > 0.8 and len(changed) > 6 and not any("\ud800" <= one <= "\udfff" for one in changed)
        return credentials._with_check(changed[:-6]) if fits else changed

    # -- judging --------------------------------------------------------------------------------------

    def judge(self, given: Given) -> str:
        way, first, second = given
        wanted, call = self.reading(way, first, second)
        try:
            found = call()
        except (InvalidCredentials, InvalidRequest) as refusal:
            assert wanted is None, "a right credential is refused"
            return f"{way} {type(refusal).__name__}"
        assert wanted is not None, "something is accepted that is not right"
        assert found == wanted, "accepted for another PAT"
        return f"{way} accepted"

    def reading(self, way: str, first: str, second: str) -> tuple[str | None, Callable[[], str]]:
        """Return the id of the PAT that must be accepted, if any, and the call that says which one is."""
        authority = self.authority
        if way == "basic":
            wanted = first if self.secrets.get(first) == second else None
            return wanted, lambda: authority.verify_basic(first, second).pat_id
        if way == "bearer":
            return self.tokens.get(first), lambda: authority.verify_bearer(first).pat_id
        if way == "gate":
            return self.right(first), lambda: self.knock({"HTTP_AUTHORIZATION": first})
        if way == "header":
            fields = {HEADER: first, **({"HTTP_AUTHORIZATION": second} if second else {})}
            value = second or "Bearer " + first
            return None if first and second else self.right(value), lambda: self.knock(fields)
        if way == "form":
            return self.right(first, form_encoded=True), lambda: self.parsed(first)
        return self.right(first), lambda: authority.authenticate(first).pat_id

    def parsed(self, value: str) -> str:
        """Return the PAT id of an Authorization value as the token endpoint reads it."""
        operations = self.authority.operations
        return operations.admit(operations.format.parse(value, form_encoded=True), UNKNOWN).principal.pat_id

    def knock(self, fields: dict[str, str]) -> str:
        """Return the PAT id of the principal that the gate lets in. Raise `InvalidCredentials` for a 401."""
        self.echo.seen.clear()
        statuses: list[str] = []
        environ = {**fields, "PATH_INFO": "/x"}
        setup_testing_defaults(environ)
        list(self.app(environ, lambda status, headers, exc_info=None: statuses.append(status)))
        status = int(statuses[0][:3])
        assert status in (200, 400, 401), status
        assert len(self.echo.seen) == (status == 200)
        if status != 200:
            raise InvalidCredentials if status == 401 else InvalidRequest
        return str(self.echo.seen[0]["patauth.principal"].pat_id)

    def right(self, value: str, *, form_encoded: bool = False) -> str | None:
        """Return the id of the PAT whose credential this Authorization value is; None for all others."""
        scheme, _, rest = value.partition(" ")
        rest = rest.lstrip(" ")
        if len(value) > MAX_AUTHORIZATION or not scheme.isascii():
            return None
        if scheme.lower() == "bearer":
            return self.tokens.get(rest)
        if scheme.lower() != "basic":
            return None
        try:
            data = base64.b64decode(rest, validate=True)
            user, _, password = data.decode().partition(":")
            if base64.b64encode(data).decode() != rest or any(
                one < " " or one == "\x7f" for one in data.decode()
            ):
                return None
            if form_encoded and "%" in user + password:
                user, password = (
                    unquote_to_bytes(one.replace("+", " ")).decode() for one in (user, password)
                )
        except ValueError:
            return None
        named = self.pat_tokens.get(password)
        if named is not None:
            is_id = len(user) == 32 and set(user) <= HEX
            return named if user == named or not is_id else None
        return user if self.secrets.get(user) == password else None


def latin(text: str) -> str:
    """Return a text as a server hands it over: in latin-1, without what ends a field."""
    return "".join(one for one in text if one not in "\r\n\0").encode("latin-1", "replace").decode("latin-1")


def percent_encoded(chance: Random, text: str) -> str:
    """Return a text with some characters percent-encoded, as RFC 6749 has it."""
    kept = [
        one if chance.random() < 0.7 else "".join(f"%{byte:02x}" for byte in one.encode("utf-8", "replace"))
        for one in text
    ]
    return chance.choice(
        (
            quote(text, errors="replace"),
            "".join(kept),
            text.replace("e", "%65"),
            text + chance.choice(ODD_TEXTS),
        )
    )
