"""`patauth token` and `patauth verify`: credentials on standard input."""

from __future__ import annotations

import json
from base64 import b64encode

from patauth import Owner
from tests.support.authorities import patient
from tests.support.cli import DATE, NOBODY, Run, create


def basic(made: dict) -> str:
    return "Basic " + b64encode(f"{made['pat']['id']}:{made['secret']}".encode()).decode()


def test_exchange_prints_the_answer_of_rfc_6749(run: Run, owner: str, url: str) -> None:
    made = create(run, owner)
    line = f"{made['pat']['id']}:{made['secret']}\n"
    answer = json.loads(run("token", "exchange", "--output", "json", input=line).stdout)
    assert list(answer) == ["access_token", "token_type", "expires_in", "scope"]
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 900, "a:b")
    with patient(url) as authority:
        assert authority.verify_bearer(answer["access_token"]).method == "access_token"
    table = run("token", "exchange", input=line.rstrip())
    assert [row.split()[0] for row in table.stdout.splitlines()] == list(answer)
    assert "pats_" not in table.output


def test_exchange_narrows_to_the_scopes_that_are_asked_for(run: Run, url: str, owner: str) -> None:
    with patient(url) as authority:
        made = authority.create(owner=Owner(owner), name="ci", scope=["a", "b", "c"], never_expires=True)
    line = f"{made.pat.id}:{made.secret}"
    words = ("token", "exchange", "--output", "json", "--scope", "c", "--scope", "a")
    assert set(json.loads(run(*words, input=line).stdout)["scope"].split()) == {"a", "c"}
    more = run(*words, "--scope", "d", input=line)
    assert (more.exit_code, more.stdout) == (2, "")


def test_introspect_prints_the_members_of_rfc_7662(run: Run, owner: str, url: str) -> None:
    made = create(run, owner)
    with patient(url) as authority:
        access = authority.exchange(made["pat"]["id"], made["secret"]).value
    for token in (access, made["token"]):
        found = json.loads(run("token", "introspect", "--output", "json", input=token + "\n").stdout)
        assert (found["active"], found["sub"], found["client_id"]) == (True, owner, made["pat"]["id"])
    assert "active" in run("token", "introspect", input=access).stdout
    for line in ("pata_x", made["secret"]):
        gone = run("token", "introspect", "--output", "json", input=line)
        assert (gone.exit_code, json.loads(gone.stdout)) == (0, {"active": False})


def test_a_client_address_that_is_none_is_a_usage_error(run: Run, owner: str) -> None:
    made = create(run, owner)
    given = {("token", "introspect"): made["token"], ("verify",): basic(made),
             ("token", "exchange"): f"{made['pat']['id']}:{made['secret']}"}  # fmt: skip
    for command, line in given.items():
        wrong = run(*command, "--client-address", "banana", input=line)
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert "give an IPv4 or IPv6 address" in wrong.stderr
        assert run(*command, "--client-address", "203.0.113.9", input=line).exit_code == 0


def test_revoke_ends_a_token_once(run: Run, owner: str, url: str) -> None:
    made = create(run, owner)
    with patient(url) as authority:
        access = authority.exchange(made["pat"]["id"], made["secret"]).value
    for token in (access, made["token"]):
        counts = [
            json.loads(run("token", "revoke", "--output", "json", input=token).stdout)["changed"]
            for _ in "ab"
        ]
        assert counts == [1, 0]
        assert run("token", "revoke", input=token).stdout.startswith("revoked  no: there is no such token")
    assert json.loads(run("pat", "list", "--owner-id", owner, "--output", "json").stdout)["pats"] == []
    other = create(run, owner)["token"]
    assert run("token", "revoke", input=other).stdout == "revoked  yes\n"
    nothing = run("token", "revoke")
    assert (nothing.exit_code, "write the token to standard input" in nothing.stderr) == (4, True)


def test_verify_prints_the_principal(run: Run, owner: str) -> None:
    made = create(run, owner)
    found = json.loads(run("verify", "--output", "json", input=basic(made) + "\n").stdout)["principal"]
    assert list(found) == ["subject", "scopes", "patId", "tenant", "method", "expiresAt"]
    assert found["subject"] == {"id": owner, "name": owner, "type": "IDENTITY"}
    assert (found["scopes"], found["tenant"], found["method"]) == (["a:b"], "default", "basic")
    assert found["patId"] == made["pat"]["id"]
    assert DATE.fullmatch(found["expiresAt"])
    table = run("verify", input=f"bearer {made['token']}")
    assert [owner in table.stdout, "method   pat" in table.stdout] == [True, True]


def test_a_pat_that_never_expires_says_null(run: Run, owner: str) -> None:
    made = create(run, owner, "--never-expires")
    value = f"Bearer {made['token']}"
    assert json.loads(run("verify", "--output", "json", input=value).stdout)["principal"]["expiresAt"] is None
    assert "expires  never" in run("verify", input=value).stdout


def test_what_is_refused_is_4_without_output_and_is_not_repeated(run: Run) -> None:
    checksum = f"{NOBODY}:pats_{'0' * 49}"
    for line in ("", "\n", "nonsense", "Basic", "Bearer x", checksum, "\x00", "a" * 20_000, "\udcff:\udcff"):
        for words in (("verify",), ("token", "exchange")):
            refused = run(*words, input=line.encode(errors="surrogateescape"))
            assert (refused.exit_code, refused.stdout) == (4, ""), (words, line)
            assert "nonsense" not in refused.stderr
            assert "pats_" not in refused.stderr


def test_a_wrong_secret_is_4_and_a_pat_token_is_not_exchanged(run: Run, owner: str) -> None:
    made, other = create(run, owner), create(run, owner, name="other")
    for line in (f"{made['pat']['id']}:{other['secret']}", made["token"], f":{made['secret']}"):
        refused = run("token", "exchange", input=line)
        assert (refused.exit_code, refused.stdout) == (4, "")


def test_an_unreachable_store_is_5_and_never_4(run: Run, owner: str) -> None:
    made = create(run, owner)
    for words, line in (
        (("verify",), basic(made)),
        (("token", "exchange"), f"{made['pat']['id']}:{made['secret']}"),
    ):
        down = run(*words, "--store", "unix:///nonexistent/socket", input=line)
        assert (down.exit_code, down.stdout) == (5, ""), words


def test_a_signed_token_is_not_called_unknown_by_settings_that_cannot_read_it(run: Run, owner: str) -> None:
    token = "e30.e30." + "A" * 86
    for command in ("introspect", "revoke"):
        refused = run("token", command, input=token)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "PATAUTH_ISSUER" in refused.stderr
        assert token not in refused.stderr


def test_where_it_is_used_decides_over_a_pat_with_networks(run: Run, owner: str) -> None:
    made = create(run, owner, "--never-expires", "--network", "203.0.113.0/24")
    there, elsewhere = ("--client-address", "203.0.113.9"), ("--client-address", "198.51.100.9")
    line = f"{made['pat']['id']}:{made['secret']}"
    access = json.loads(run("token", "exchange", "--output", "json", *there, input=line).stdout)[
        "access_token"
    ]
    for words in (elsewhere, ()):
        refused = run("token", "exchange", *words, input=line)
        assert (refused.exit_code, "may not be used from this address" in refused.stderr) == (4, True)
        assert run("verify", *words, input=basic(made)).exit_code == 4
    assert run("verify", *there, input=basic(made)).exit_code == 0
    for token in (access, made["token"]):
        for words, active in ((there, True), (elsewhere, False), ((), False)):
            found = run("token", "introspect", "--output", "json", *words, input=token).stdout
            assert json.loads(found)["active"] == active
