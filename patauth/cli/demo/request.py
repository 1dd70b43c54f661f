"""A request over HTTP, the curl line that repeats it, and the reply."""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

_TIMEOUT = 10  # seconds for one reply


class NoReply(Exception):
    """No reply came, or none that is HTTP."""


@dataclass(frozen=True)
class Reply:
    """A reply: status, header fields and body."""

    status: int
    fields: list[tuple[str, str]]
    body: str

    def field(self, name: str) -> str:
        """Return all values of a header field; an empty text if it is missing."""
        return ", ".join(value for key, value in self.fields if key.lower() == name.lower())

    @property
    def summary(self) -> str:
        """What there is to print of the body: all of it, or the title of a page."""
        title = re.search("<title>(.*?)</title>", self.body)
        return f"a page: {title[1]}" if title else self.body.strip()

    @property
    def hidden(self) -> dict[str, str]:
        """The hidden fields of a page with one form, with values that need no escapes."""
        return dict(re.findall('<input type="hidden" name="([a-z_]+)" value="([^"&]*)">', self.body))

    @property
    def content(self) -> dict[str, Any]:
        """The body as a JSON object. Raise `ValueError` if it is not one."""
        content = json.loads(self.body)
        if not isinstance(content, dict):
            raise ValueError("the body is not a JSON object")
        return content


@dataclass(frozen=True)
class Request:
    """A request: `basic` is an id and a secret, `bearer` a token; `form` makes it a POST.

    `origin` is the site whose page sends the form, as a browser says it.
    """

    url: str
    method: str = "GET"
    basic: tuple[str, str] | None = None
    bearer: str | None = None
    form: dict[str, str] = field(default_factory=dict)
    origin: str = ""

    def curl(self) -> str:
        """Return the line for a shell. It has -i, which prints the header fields too."""
        words = ["curl", "-i"]
        if self.basic:
            words += ["-u", ":".join(self.basic)]
        if self.bearer:
            words += ["-H", f"Authorization: Bearer {self.bearer}"]
        if self.origin:
            words += ["-H", f"Origin: {self.origin}"]
        if self.form:
            words += ["-d", urlencode(self.form)]  # which makes it a POST
        elif self.method != "GET":
            words += ["-X", self.method]
        return shlex.join([*words, self.url])

    def send(self) -> Reply:
        """Send the request over a new connection, and return the reply. Raise `NoReply`."""
        from http.client import HTTPConnection, HTTPException  # with ssl and email, this takes 8 ms

        url = urlsplit(self.url)
        headers = {}
        if self.basic:
            headers["Authorization"] = "Basic " + b64encode(":".join(self.basic).encode()).decode()
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        if self.origin:
            headers["Origin"] = self.origin
        if self.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = HTTPConnection(url.hostname or "", url.port, timeout=_TIMEOUT)
        try:
            method = "POST" if self.form else self.method
            target = url.path + (f"?{url.query}" if url.query else "")
            connection.request(method, target, urlencode(self.form) or None, headers)
            response = connection.getresponse()
            return Reply(response.status, response.getheaders(), response.read().decode())
        except (OSError, HTTPException, ValueError) as problem:
            raise NoReply(f"no answer: {problem}") from problem
        finally:
            connection.close()
