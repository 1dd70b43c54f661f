"""The way of a request through a dialect: its method, who sends it, what is done, and how errors look.

    405 -> credentials 400/401 -> quota 429 -> the operation -> its answer, with the quota's fields

What differs between dialects comes in: the operations of a path, what they are called with, and the renderer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from ...authority import Authority
from ...errors import PatAuthError
from ...model.caller import Caller
from ...model.quota import Decision
from ..answers import Answer, MethodNotAllowed, quota_fields
from .caller import CSRF_FIELD, Identify, identify_caller, log_failure

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

C = TypeVar("C")
Route = Callable[["WSGIEnvironment"], Answer]
Render = Callable[[PatAuthError, Decision | None], Answer]


def respond(
    environ: WSGIEnvironment,
    authority: Authority,
    identify: Identify | None,
    operations: Mapping[str, Callable[[C], Answer]],
    call: Callable[[Caller], C],
    render: Render,
) -> Answer:
    """Answer a request. It raises nothing: what goes wrong is rendered, and a fault of ours is a 500.

    `operations`: by method, in the order of Allow; GET answers HEAD too. `call`: what an operation gets, made
    for an admitted caller; it may raise as an operation does. `render`: an error, and the quota that was
    charged before it.
    """
    decision: Decision | None = None
    try:
        method = environ["REQUEST_METHOD"]
        operation = operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            raise MethodNotAllowed(_allow(operations))
        caller, decision, csrf_token = identify_caller(environ, authority, identify)
        answer = operation(call(caller))
    except PatAuthError as error:
        return render(error, decision)
    except Exception as problem:
        log_failure("a request to the management API failed", problem)
        return render(PatAuthError(detail=type(problem).__name__), decision)
    fields = [*answer.fields, *(quota_fields(decision) if decision else ())]
    if csrf_token is not None:
        fields.append((CSRF_FIELD, csrf_token))
    return answer._replace(fields=fields)


def _allow(operations: Mapping[str, object]) -> str:
    return ", ".join("GET, HEAD" if method == "GET" else method for method in operations)
