"""Answer a request to a management dialect: the method, who calls, the operation, and errors.

    405 -> credentials 400/401 -> quota 429 -> the operation -> its answer with the quota's fields

What differs between the dialects is passed in: the operations of a path, what they get, and how errors look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from ...errors import PatAuthError
from ...model.caller import Caller
from ...model.quota import Decision
from ..answers import Answer, with_caller_fields
from ..errors import MethodNotAllowed
from ..site import Site
from .caller import identify_caller
from .csrf import CSRF_FIELD

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

C = TypeVar("C")


def respond(
    environ: WSGIEnvironment,
    site: Site,
    operations: Mapping[str, Callable[[C], Answer]],
    call: Callable[[Caller], C],
    render: Callable[[PatAuthError], Answer],
    *,
    ending: bool = False,
) -> Answer:
    """Return the answer to a request, with the fields about its caller. Raise nothing.

    `operations` maps methods to operations, in the order of Allow; GET answers HEAD too. `call` makes the
    argument of an operation after the caller is admitted, and may raise what an operation may raise. `render`
    makes the answer to an error. Any exception but a `PatAuthError` is logged and becomes a 500. `ending`:
    the request ends something, as each DELETE does.
    """
    decision: Decision | None = None
    expires_ms: int | None = None
    try:
        method = environ["REQUEST_METHOD"]
        operation = operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            raise MethodNotAllowed(_allow(operations))
        caller, decision, expires_ms, csrf_token = identify_caller(environ, site, ending=ending)
        answer = operation(call(caller))
        if csrf_token is not None:
            answer = answer.with_fields([(CSRF_FIELD, csrf_token)])
    except PatAuthError as error:
        answer = render(error)
    except Exception as problem:
        site.log_failure("a request to the management API failed", problem)
        answer = render(PatAuthError(detail=type(problem).__name__))
    return with_caller_fields(answer, decision, expires_ms)


def _allow(operations: Mapping[str, object]) -> str:
    return ", ".join("GET, HEAD" if method == "GET" else method for method in operations)
