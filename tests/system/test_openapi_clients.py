"""Clients that others' generators make of `/openapi.json`, before the service whose description it is."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import requests

from patauth import IssuedPat, Owner
from tests.support.authorities import issue, patient
from tests.support.npm import FOLDER, command, run
from tests.support.rights import ALL_MANAGE
from tests.support.service import serving

SCOPE = ["sp:scopes:all", ALL_MANAGE, "reports:read"]


class World(NamedTuple):
    """The service's URL, the file that has its description, and a PAT."""

    url: str
    description: Path
    issued: IssuedPat


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("described")
    store, signs = f"local:{folder}/patauth-data", {"PATAUTH_ACCESS_TOKEN_FORMAT": "jwt"}
    with serving(folder, **signs) as service, patient(store) as authority:
        issued = issue(authority, owner=Owner("alice"), scope=SCOPE, never_expires=True)
        path = folder / "openapi.json"
        path.write_bytes(requests.get(service.url + "/openapi.json", timeout=10).content)
        yield World(service.url, path, issued)


def test_redocly_finds_nothing_to_say(world: World) -> None:
    said = json.loads(command("redocly", "lint", "--format=json", str(world.description)))
    assert (said["totals"], said["problems"]) == ({"errors": 0, "warnings": 0, "ignored": 0}, [])


def test_openapi_typescript_makes_types_with_which_a_client_works(world: World, tmp_path: Path) -> None:
    """tsc checks the client against them, and finds the one call that is wrong on purpose."""
    types, config = tmp_path / "openapi.d.ts", tmp_path / "tsconfig.json"
    command("openapi-typescript", str(world.description), "-o", str(types))
    options = {
        "strict": True, "checkJs": True, "noEmit": True, "module": "nodenext", "target": "es2022",
        "skipLibCheck": True, "types": ["node"], "typeRoots": [str(FOLDER / "node_modules" / "@types")],
        "paths": {"openapi": [str(types)]},
    }  # fmt: skip
    files = [str(FOLDER / "openapi_client.mjs")]
    config.write_text(json.dumps({"compilerOptions": options, "files": files}))
    command("tsc", "--project", str(config))
    (told,) = run("openapi_client.mjs", world.url, world.issued.token)
    assert told.pop("secret").startswith("pats_")
    assert told == {
        "renamed": "renamed", "listed": [True], "found": ["alice"],
        "removed": 204, "missing": "404 Not found", "refused": 400,
    }  # fmt: skip


class Made:
    """The package that openapi-python-client has made; a model or a call by the module that has it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, part: str) -> ModuleType:
        return importlib.import_module(f"{self.name}.{part}")

    def model(self, name: str) -> Any:
        return getattr(importlib.import_module(f"{self.name}.models"), name)

    def call(self, tag: str, name: str) -> Any:
        return importlib.import_module(f"{self.name}.api.{tag}.{name}").sync_detailed


@pytest.fixture(scope="module")
def made(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    words = ["--path", world.description, "--output-path", folder / "made_client", "--meta=none"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it formats what it makes with ruff
    subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", *words],
        env={**os.environ, "PATH": path}, check=True, timeout=120,
    )  # fmt: skip
    sys.path.insert(0, str(folder))
    yield Made("made_client")
    sys.path.remove(str(folder))


class TestOpenapiPythonClient:
    """It makes a client without a warning, and what it has made works."""

    @pytest.fixture
    def client(self, made: Made, world: World) -> Iterator[Any]:
        with made.client.AuthenticatedClient(base_url=world.url, token=world.issued.token) as client:
            yield client

    def test_a_pat_from_its_creation_to_its_end(self, made: Made, world: World, client: Any) -> None:
        later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
        new = made.model("CreatePatOrNever")(name="made", scope=["reports:read"], expiration_date=later)
        created = made.call("personal_access_tokens", "create_pat_v1")(client=client, body=new)
        assert (created.status_code, created.parsed.name) == (200, "made")
        assert (created.parsed.expiration_date, created.parsed.owner.id) == (later, "alice")

        credentials = {"client_id": created.parsed.id, "client_secret": created.parsed.secret}
        grant = made.model("TokenRequestGrantType").CLIENT_CREDENTIALS
        form = made.model("TokenRequest")(grant_type=grant, **credentials)
        with made.client.Client(base_url=world.url) as anybody:
            access = made.call("o_auth", "get_access_token")(client=anybody, body=form)
        assert (access.status_code, access.parsed.scope) == (200, "reports:read")
        asked = made.model("AboutToken")(token=access.parsed.access_token)
        told = made.call("o_auth", "introspect_token")(client=client, body=asked)
        assert (told.parsed.active, told.parsed.sub) == (True, "alice")
        assert told.parsed.client_id == created.parsed.id
        assert told.parsed.exp - told.parsed.iat == access.parsed.expires_in
        keys = made.call("o_auth", "get_keys")(client=client)
        assert [key.kty for key in keys.parsed.keys] == ["EC"]

        replace = made.model("PatPatchOrNeverSetOp").REPLACE
        operation = made.model("PatPatchOrNeverSet")(op=replace, path="/name", value="renamed")
        one = {"client": client, "id": created.parsed.id}
        changed = made.call("personal_access_tokens", "patch_pat_v1")(**one, body=[operation])
        assert (changed.status_code, changed.parsed.name) == (200, "renamed")
        listed = made.call("personal_access_tokens", "list_pats_v1")(
            client=client, owner_id="me", filters='name eq "renamed"', count=True
        )
        assert [pat.id for pat in listed.parsed] == [created.parsed.id]
        assert listed.headers["X-Total-Count"] == "1"

        criterion = made.model("ZitadelTokenIdFilter")(made.model("ZitadelById")(created.parsed.id))
        search = made.model("ZitadelSearchV2")(filters=[criterion])
        found = made.call("zitadel", "search_user_pats_connect")(client=client, body=search)
        assert [pat.user_id for pat in found.parsed.result] == ["alice"]

        delete = made.call("personal_access_tokens", "delete_pat_v1")
        assert [delete(**one).status_code for _ in range(2)] == [204, 404]

    def test_all_of_it_can_be_imported(self, made: Made) -> None:
        package = importlib.import_module(made.name)
        names = [one.name for one in pkgutil.walk_packages(package.__path__, f"{made.name}.")]
        assert len(names) > 100
        for name in names:
            importlib.import_module(name)

    def test_errors_are_read_as_what_they_are(self, made: Made, world: World, client: Any) -> None:
        create = made.call("personal_access_tokens", "create_pat_v3")
        new = made.model("CreatePat")(name=world.issued.pat.name, scope=["reports:read"])
        taken = create(client=client, body=new)
        assert (taken.status_code, taken.parsed.detail_code) == (400, "400.1 Bad Request Content")
        assert "name" in taken.parsed.causes[0].text
        with made.client.AuthenticatedClient(base_url=world.url, token="pat_x") as nobody:
            refused = create(client=nobody, body=new)
        assert (refused.status_code, type(refused.parsed).__name__) == (401, "IscRefused")
