"""Calls in binary forms: Connect with protobuf, and gRPC-web. Their messages begin as right ones."""

from __future__ import annotations

from random import Random

from tests.fuzz.bodies import DATE, JSON, PAGE, SEARCH, Answered, Bodies, Given
from tests.fuzz.spoil import spoiled
from tests.support.rpc import PROTO, V1, V2, Content, encode, frame, frames
from tests.support.zitadel import CODES

KINDS = [PROTO, "application/grpc-web", "application/grpc-web+proto"]
STATUSES = {code: status for status, code in CODES.items()}


class Calls(Bodies):
    """Spoils messages, and the frames around them; judges what comes of it as `Bodies` does."""

    name = "calls"

    def generate(self, chance: Random) -> Given:
        method, content = chance.choice(self.calls())
        kind = chance.choice(KINDS)
        message = encode(method, content)
        if chance.random() < 0.6:
            message = spoiled(chance, message)
        body = message if kind == PROTO else frame(message)
        if chance.random() < 0.4:
            body = spoiled(chance, body)
        return "POST", method, kind, {"HTTP_AUTHORIZATION": self.basic}, body

    def calls(self) -> list[tuple[str, Content]]:
        """Return right calls: method and message."""
        one = {"userId": "other", "tokenId": self.other.pat.id}
        return [
            (V1 + "AddPersonalAccessToken", {"userId": "other", "expirationDate": DATE}),
            (V1 + "GetPersonalAccessTokenByIDs", one),
            (V1 + "ListPersonalAccessTokens", {"userId": "other", "query": PAGE}),
            (V1 + "RemovePersonalAccessToken", one),
            (V2 + "AddPersonalAccessToken", {"userId": "other", "expirationDate": DATE}),
            (V2 + "RemovePersonalAccessToken", one),
            (V2 + "ListPersonalAccessTokens", SEARCH),
        ]

    def send(self, given: Given) -> Answered:
        """Send a call, and return what it came to with the status that REST would have given it."""
        answer = super().send(given)
        if answer.kind not in KINDS:
            return answer
        if answer.kind == PROTO:
            return answer._replace(kind=JSON, body=b"")
        assert answer.status == 200, answer
        flags, lines = frames(answer.body)[-1]
        assert flags == 0x80
        code = int(lines.split(b"\r\n")[0].removeprefix(b"grpc-status: "))
        return answer._replace(status=STATUSES[code] if code else 200, kind=JSON, body=b"")
