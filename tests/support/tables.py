"""Claims that hold for each row of a table: one test, whose failure names the row."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Test = Callable[..., None]


def each(names: str | Sequence[str], rows: Iterable[Any]) -> Callable[[Test], Test]:
    """Run the test once per row, with the row's values as the named arguments.

    The rows are written as for `pytest.mark.parametrize`, but are one test and share its fixtures.
    Parametrize where each row needs a store or a directory of its own.
    """
    columns = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    table = [_row(columns, given) for given in rows]
    if not table:
        raise ValueError("a claim about no rows says nothing")

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(*args: Any, **fixtures: Any) -> None:
            __tracebackhide__ = True
            for label, row in table:
                try:
                    test(*args, **fixtures, **row)
                except BaseException as error:
                    error.add_note(f"in the row {label}")
                    raise

        of_test = inspect.signature(test)
        kept = [parameter for name, parameter in of_test.parameters.items() if name not in columns]
        if len(kept) != len(of_test.parameters) - len(columns):
            raise TypeError(f"{test.__qualname__} does not take {names}")
        run.__signature__ = of_test.replace(parameters=kept)  # type: ignore[attr-defined]
        return run

    return decorate


def _row(columns: list[str], given: Any) -> tuple[str, dict[str, Any]]:
    """Return how a failure names the row, and its values by column."""
    values, label = getattr(given, "values", None), getattr(given, "id", None)
    if not isinstance(values, tuple):  # else a `pytest.param`
        values, label = ((given,) if len(columns) == 1 else tuple(given)), None
    row = dict(zip(columns, values, strict=True))
    return label or ", ".join(f"{name}={value!r}" for name, value in row.items()), row
