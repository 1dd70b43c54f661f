"""The memo: what it keeps of credentials, how much, and under which names."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from patauth import Authority, InvalidCredentials, PatAuthError
from patauth.operations.memo import Memo
from tests.support.authorities import Make, basic, basic_of, bearer, issue
from tests.support.internals import kept_in, memo_of
from tests.support.referents import texts_in
from tests.support.signing import JWT_MODE, access_of
from tests.support.tables import each

TOKEN = "Bearer " + "x" * 60


def is_known(authority: Authority, value: str) -> bool:
    return memo_of(authority).find(value)[1] is not None


def test_a_value_has_one_name_and_no_other_value_has_it() -> None:
    kept: Memo[str] = Memo(1)
    values = [TOKEN, TOKEN[:-1], TOKEN + "x", TOKEN.lower(), "", " ", "Basic " + TOKEN]
    names = [kept.find(value)[0] for value in values]
    assert names == [kept.find(value)[0] for value in values]
    assert len(set(names)) == len(values)
    assert {len(name or b"") for name in names} == {16}


def test_nobody_knows_the_name_that_another_memo_gives() -> None:
    assert Memo(1).find(TOKEN)[0] != Memo(1).find(TOKEN)[0]


@each("value", ["Bearer é", "Bearer \ud800", "x" * 2049, b"Bearer x", None, 7, ["Bearer x"]])
def test_what_no_usual_credential_looks_like_has_no_name_and_is_not_known(value: Any) -> None:
    kept: Memo[str] = Memo(1)
    assert kept.find(value) == (None, None)
    assert kept.find("x" * 2048)[0]


@each("value", ["Bearer é", "Bearer \ud800", "Bearer " + "x" * 9000, b"Bearer x", None, 7])
def test_what_has_no_name_is_refused_as_ever(real: Authority, value: Any) -> None:
    for _ in range(2):
        with pytest.raises(PatAuthError) as refused:
            real.authenticate(value)
        assert isinstance(refused.value, InvalidCredentials)


def test_it_keeps_what_was_kept_or_found_last(keeper: Authority) -> None:
    """At least so many, and twice as many at most."""
    kept = memo_of(keeper)
    kept._most = 3
    issued = issue(keeper)
    often = bearer(access_of(keeper, issued))
    keeper.authenticate(often)
    last: list[str] = []
    for _ in range(20):
        last = [*last[-1:], bearer(access_of(keeper, issued))]
        keeper.authenticate(last[-1])
        assert all(is_known(keeper, value) for value in (often, *last))
        assert len(kept_in(kept)) <= 6


def test_it_keeps_nothing_large(keeper: Authority) -> None:
    """Neither a large record nor the scopes of an access token whose PAT has fewer now."""
    many = [f"{number:03}{'x' * 100}" for number in range(30)]
    issued = issue(keeper, scope=many)
    large, small = access_of(keeper, issued), access_of(keeper, issued, scope=many[0])
    for value in (basic_of(issued), bearer(issued.token), bearer(large), bearer(small)):
        keeper.authenticate(value)
        assert not is_known(keeper, value)
    keeper.update(issued.pat.id, scope=many[:1])
    for value, kept in ((basic_of(issued), True), (bearer(small), True), (bearer(large), False)):
        keeper.authenticate(value)
        assert is_known(keeper, value) == kept


def test_a_token_that_is_too_long_to_be_remembered_opens_each_time(make_at: Make, keys: Path) -> None:
    authority = make_at(**JWT_MODE, keys=str(keys))
    issued = issue(authority, scope=[f"{number:03}{'x' * 100}" for number in range(15)])
    value = bearer(access_of(authority, issued))
    assert len(value) > 2048
    for _ in range(2):
        assert authority.authenticate(value).pat_id == issued.pat.id
        assert not is_known(authority, value)


def test_what_it_knows_opens_nothing(make_at: Make, keys: Path) -> None:
    """No Authorization value, token or secret is in it, nor a part of one, and no repr shows a digest."""
    opaque, signing = make_at(issuer=JWT_MODE["issuer"], keys=str(keys)), make_at(**JWT_MODE, keys=str(keys))
    issued = issue(opaque)
    access, signed = access_of(opaque, issued), access_of(signing, issued)
    secret = opaque.operations.format.basic(issued.pat.id, issued.secret).secret
    values = [
        basic_of(issued),
        basic("anybody", issued.token),
        *map(bearer, (issued.token, access, signed)),
    ]
    for value in values:
        for _ in range(2):
            opaque.authenticate(value)
        assert is_known(opaque, value)

    opening = [secret, issued.secret.encode(), issued.token.encode(), access.encode(), signed.encode()]
    opening += [*map(str.encode, values), secret.hex().encode(), b64encode(secret)]
    opening += [issued.secret[5:30].encode(), access.rpartition("_")[2].encode(), signed[-40:].encode()]
    opening += [value.partition(" ")[2].encode() for value in values]
    kept = texts_in(memo_of(opaque))
    assert issued.pat.id.encode() in kept, "what is kept was looked through"
    assert len(kept) > 40
    for one in opening:
        assert not [text for text in kept if one in text]
    for known in kept_in(memo_of(opaque)).values():
        assert repr(known) == f"<KnownCredential {issued.pat.id}>"


def test_who_was_refused_is_not_remembered(real: Authority) -> None:
    issued = issue(real)
    access = access_of(real, issued)
    real.disable(issued.pat.id)
    for value in (basic_of(issued), bearer(issued.token), bearer(access), TOKEN):
        with pytest.raises(InvalidCredentials):
            real.authenticate(value)
    assert kept_in(memo_of(real)) == {}


def test_what_is_forgotten_is_unknown_and_may_be_forgotten_twice(real: Authority) -> None:
    issued = issue(real)
    value = bearer(access_of(real, issued))
    kept = memo_of(real)
    real.authenticate(value)
    for _ in range(2):
        kept.forget(kept.find(value)[0])
        assert not is_known(real, value)
    assert real.authenticate(value).pat_id == issued.pat.id
