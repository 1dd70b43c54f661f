"""Filters as trees, and the words that say them: for properties of the grammar."""

from __future__ import annotations

from hypothesis import strategies as st

from patauth.model.dates import LATEST, format_ms

INSTANTS = ["created", "lastUsed", "expirationDate", "revokedAt"]
STATES = ["active", "not_yet", "expired", "disabled", "revoked"]


instants = st.integers(-1, 6) | st.just(LATEST)


texts = st.sampled_from(["", "a", "A", "b", "ab", "e\u0301", "\u00e9", '"', "\\", ' ("\\",and '])


orders = st.sampled_from(["lt", "le", "gt", "ge"])


comparisons = (
    st.tuples(st.sampled_from(INSTANTS), orders, instants)
    | st.tuples(st.sampled_from(["lastUsed", "expirationDate"]), st.just("isnull"), st.none())
    | st.tuples(st.just("name"), st.sampled_from(["eq", "sw", "co"]), texts)
    | st.tuples(st.just("id"), st.just("eq"), texts)
    | st.tuples(st.just("id"), st.just("in"), st.lists(texts, min_size=1, max_size=3))
    | st.tuples(st.just("state"), st.just("eq"), st.sampled_from(STATES))
    | st.tuples(st.just("state"), st.just("in"), st.lists(st.sampled_from(STATES), min_size=1, max_size=5))
)


RANKS = {"or": 0, "and": 1, "not": 2}


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


trees = st.recursive(
    comparisons,
    lambda parts: (
        st.tuples(st.sampled_from(["and", "or"]), st.lists(parts, min_size=2, max_size=3))
        | st.tuples(st.just("not"), parts)
        | st.tuples(st.just("()"), parts)  # parentheses that nothing asks for
    ),
    max_leaves=6,
)


def words(tree, rank=0):
    """The tokens of a tree, in parentheses only where precedence needs them: not > and > or."""
    match tree:
        case (("and" | "or") as word, [first, *others]):
            inner = words(first, RANKS[word] + 1)
            for other in others:
                inner += [word, *words(other, RANKS[word] + 1)]
        case ("not", part):
            inner = ["not", *words(part, RANKS["not"])]
        case ("()", part):
            return ["(", *words(part), ")"]
        case (field, "isnull", _):
            return [field, "isnull"]
        case (("id" | "state") as field, "in", values):
            return [field, "in", "(", *[one for value in values for one in (",", quoted(value))][1:], ")"]
        case (field, operator, int(ms)):
            return [field, operator, format_ms(ms)]
        case (field, operator, value):
            return [field, operator, quoted(value)]
    return ["(", *inner, ")"] if RANKS[tree[0]] < rank else inner
