"""A model of the ends of credentials (CONTRACT 5.11), for tests/support/explorer.py.

One credential asks for one thing (`Case.verb`), two calls end it, a host changes its PAT in between, and the
server of its slot may fail over. Each step of a process is one call of the store. Between any two steps the
others take theirs, and time passes. So a step that is late, and a process that crashes and takes no further
step, are histories like any other.

The caller's PAT is in slot A. What it changes is there too, or in another slot (`far`). All timers count
down, in ticks of the store's clocks: `WAIT` of them are the half second of asking.py. A compare-and-set is
one step, because it compares the whole record. Whatever else may be passed on, such as an expiry, is like
`scope`. `inside` is whether the caller is in the networks of their PAT: no script can tell, so a process
judges it, and a script compares the version of what was judged.

Left out: a server that answers although another one has taken its place, and clocks that jump.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

WAIT, OVERLAP = 2, 3  # ticks

Steps = Iterator[tuple[str, "State"]]


@dataclass(frozen=True)
class Design:
    """What the design rests on. Each part can be left out, to see that it is needed."""

    script_compares_version: bool = True
    version: Literal["random", "counter", "sequence"] = "random"  # a sequence: not moved by `enable`
    waits_by: Literal["mark", "scopes"] = "mark"  # whether an end waits
    waits_for_others: Literal["each end", "repeated ends", "none"] = "each end"  # for what is left of a wait
    clock_before_judgement: bool = True
    window: int = WAIT  # ticks in which a write in another slot is done, 0: it always is
    previous_changes_nothing: bool = True
    second_look_after_hash: bool = True
    shown_is_judged: bool = True  # by the script that deletes a PAT whose secret was shown
    unmarked_repeat_confirms: bool = True  # a narrowing that finds its work done, of a PAT without the mark
    done_is_seen_durably: bool = True  # an end that finds its work done looks and confirms in one step
    requests_carry_version: bool = True  # of the record by which a process has judged the networks
    far_is_judged_durably: bool = True  # a change in another slot is judged by what no failover takes back


# The design without the last ones, which the code does not have yet.
TODAY = Design(
    shown_is_judged=False,
    done_is_seen_durably=False,
    far_is_judged_durably=False,
)


class Verb(NamedTuple):
    """What a credential may ask for, and what it needs for that."""

    right: bool = False
    scope: bool = False
    previous: bool = False  # the previous secret of an overlap will do
    itself: bool = False  # it changes the caller's own PAT, and ends it


VERBS = {
    "create": Verb(right=True, scope=True),
    "grow": Verb(right=True, scope=True),
    "rotate": Verb(right=True, scope=True),
    "rename": Verb(right=True),
    "delete": Verb(right=True),
    "delete itself": Verb(previous=True, itself=True),
    "revoke by showing it": Verb(previous=True, itself=True),
    "exchange": Verb(previous=True),
    "authenticate": Verb(previous=True),
}
# What each end takes from a credential.
ENDS = {
    "delete": "life",
    "revoke the owner": "life",
    "disable the owner": "life",
    "disable the PAT": "life",
    "rotate": "secret",
    "rotate with an overlap": "secret",
    "take the right": "right",
    "take the scope": "scope",
    "take the network": "place",
    "revoke the token": "token",
}
# Which ends an end has before it that finds its work done.
DONE_BY = {kind: {kind} for kind in ENDS}
DONE_BY["delete"] = DONE_BY["revoke the owner"] = {"delete", "revoke the owner"}
DONE_BY["revoke the token"] |= DONE_BY["delete"]


class Pat(NamedTuple):
    """The record of the caller's PAT. The caller has the secret of generation 1."""

    active: bool
    right: bool
    scope: bool
    inside: bool
    generation: int
    overlap: int
    version: int
    mark: bool


class Slot(NamedTuple):
    """Slot A: the PAT, its access token, the key that repeated ends wait for, the ends that took effect."""

    pat: Pat | None
    token: bool
    key: int
    ends: int  # bits, for the rules alone: the processes


class Caller(NamedTuple):
    """Who asks. `cut` and `known` are for the rules alone.

    A request begins with a process that has judged the networks in the first version of the record.
    """

    step: str = "begin"
    right: bool = False  # of the principal, as verified
    scope: bool = False
    version: int = 1  # by which it was judged
    window: int = 0
    cut: int = 0  # the ends that took away what the last judgement allows
    known: int = 0  # the ends that had returned when the last verification began


class End(NamedTuple):
    """A call that ends something. `covers`: the ends that hold when it returns."""

    step: str = "begin"
    kind: str = ""
    wait: int = 0
    covers: int = 0


class State(NamedTuple):
    """Everything. `durable` is slot A as a replica has it; None: there is no (further) failover."""

    slot: Slot
    durable: Slot | None
    caller: Caller
    ends: tuple[End, End]
    returned: int  # the ends that have returned, bits
    host: int  # changes that the host may still make
    broken: str = ""


@dataclass(frozen=True)
class Case:
    """What is explored."""

    verb: str
    far: bool = False
    by_token: bool = False
    over_others: bool = True  # its right is over PATs of others
    granted: bool = True  # it has the right; else the host may give it
    failover: bool = False
    host: int = 0
    design: Design = Design()

    def start(self) -> State:
        """Return the state in which nobody has done anything."""
        mark = self.over_others and self.granted
        slot = Slot(Pat(True, self.granted, True, True, 1, 0, 1, mark), self.by_token, 0, 0)
        return State(slot, slot if self.failover else None, Caller(), (End(), End()), 0, self.host)

    def steps(self, state: State) -> Steps:
        """Yield everything that can happen next, until what the caller asks for is done or too late."""
        caller = state.caller
        if caller.step == "done":
            return
        if caller.step in ("clock", "sent") and self.far and self.design.window and not caller.window:
            return
        if caller.step != "begin" or state.slot.pat is not None:
            yield from self._caller(state)
        for number in (0, 1):
            yield from self._end(state, number)
        yield from self._host(state)
        if state.durable not in (None, state.slot):
            yield "the server fails over, and loses what is not durable", self._lost(state)
        later = _tick(state)
        if later != state:
            yield "a tick", later

    # -- the rules ------------------------------------------------------------------------------------

    def _lacks(self, slot: Slot, caller: Caller) -> set[str]:
        """Return what the caller lacks for what they ask, or were allowed, as slot A is now."""
        verb, pat = VERBS[self.verb], slot.pat
        if pat is None:
            return {"life"}
        lacks = set()
        if not pat.active and self.verb != "revoke by showing it":
            lacks.add("life")
        if pat.generation != 1 and not (verb.previous and pat.generation == 2 and pat.overlap):
            lacks.add("secret")
        if self.by_token and not slot.token:
            lacks.add("token")
        if not pat.inside and self.verb != "revoke by showing it":
            lacks.add("place")
        shown = self.verb in ("authenticate", "exchange") and not self.by_token  # else fixed at the issue
        if (verb.right or (shown and caller.right)) and not pat.right:
            lacks.add("right")
        if (verb.scope or (shown and caller.scope)) and not pat.scope:
            lacks.add("scope")
        return lacks

    def _cut(self, state: State, caller: Caller) -> int:
        lacks = self._lacks(state.slot, caller)
        done = [1 << number for number, end in enumerate(state.ends) if end.kind and ENDS[end.kind] in lacks]
        return sum(done) & state.slot.ends

    def _done(self, state: State, caller: Caller) -> State:
        """Return the state in which what the caller asked for is done."""
        broken, slot = "", state.slot
        if self.verb == "authenticate":
            if caller.cut & caller.known:
                broken = "a credential was accepted whose end had returned before it was verified"
        elif caller.cut & state.returned:
            broken = "a change took effect after the end of the credential had returned"
        elif not self.far and (missing := self._lacks(slot, caller)):
            broken = f"a change took effect in the caller's slot without {', '.join(sorted(missing))}"
        if VERBS[self.verb].itself:
            slot = slot._replace(pat=None)
        return state._replace(slot=slot, caller=Caller("done"), broken=broken)

    # -- the caller -----------------------------------------------------------------------------------

    def _caller(self, state: State) -> Steps:
        caller = state.caller
        if self.verb == "authenticate":
            yield from self._authentication(state)
        elif self.verb == "exchange":
            yield from self._exchange(state)
        elif caller.step == "begin":
            if self.verb == "revoke by showing it":
                if self._proves(state.slot, disabled=True):
                    yield "the caller shows its secret", self._judged(state, caller, "sent")
            elif self._proves(state.slot):
                yield "the caller is verified", state._replace(caller=self._principal(state, "verified"))
        elif caller.step == "sent":
            yield from self._arrival(state)
        else:
            yield from self._judgement(state)

    def _proves(self, slot: Slot, *, disabled: bool = False, anywhere: bool = False) -> bool:
        """Authenticate.lua, and the check of state: whether the credential is one.

        A script cannot tell where it comes from: `anywhere`.
        """
        pat = slot.pat
        if pat is None or not (pat.active or disabled) or (self.by_token and not slot.token):
            return False
        if not (pat.inside or disabled or anywhere):
            return False
        return pat.generation == 1 or (pat.generation == 2 and pat.overlap > 0)

    def _principal(self, state: State, step: str) -> Caller:
        pat = state.slot.pat
        assert pat is not None
        return Caller(step, pat.right or self.by_token, pat.scope or self.by_token)

    def _judged(self, state: State, caller: Caller, step: str) -> State:
        pat = state.slot.pat
        assert pat is not None
        caller = caller._replace(step=step, version=pat.version, cut=self._cut(state, caller))
        if self.far and self.design.far_is_judged_durably and state.durable is not None:
            state = state._replace(durable=state.slot)
        return state._replace(caller=caller)

    def _judgement(self, state: State) -> Steps:
        """Permissions.judged. If the target is in another slot, its clock is read before."""
        caller, verb, pat, design = state.caller, VERBS[self.verb], state.slot.pat, self.design
        now = "the caller reads the clock of the target's slot"
        if caller.step == "judged":
            window = caller._replace(step="sent", window=design.window)
            yield now, state._replace(caller=window)
            return
        if caller.step == "verified" and self.far and design.clock_before_judgement:
            yield now, state._replace(caller=caller._replace(step="clock", window=design.window))
            return
        if not self._proves(state.slot):
            return
        assert pat is not None
        if pat.generation != 1 and design.previous_changes_nothing and not verb.previous:
            return
        if (not verb.right or (caller.right and pat.right)) and (
            not verb.scope or (caller.scope and pat.scope)
        ):
            early = not self.far or design.clock_before_judgement
            yield "the caller is judged", self._judged(state, caller, "sent" if early else "judged")

    def _arrival(self, state: State) -> Steps:
        """The script that writes."""
        caller, slot, design = state.caller, state.slot, self.design
        name = f"the store does it: {self.verb}"
        if self.far:
            if caller.window or not design.window:
                yield name, self._done(state, caller)
        elif self.verb == "revoke by showing it":
            if slot.pat and (not design.shown_is_judged or self._proves(slot, disabled=True)):
                yield name, self._done(state, caller)
        elif self._proves(slot, anywhere=True):
            assert slot.pat is not None
            if design.script_compares_version and slot.pat.version != caller.version:
                again = Caller("verified", caller.right, caller.scope)
                yield "the script asks for another judgement", state._replace(caller=again)
            else:
                yield name, self._done(state, caller)

    def _authentication(self, state: State) -> Steps:
        caller = state.caller
        if caller.step == "begin":
            asked = caller._replace(step="asked", known=state.returned)
            yield "a request comes with the credential", state._replace(caller=asked)
        elif caller.step == "hashing" and not self.design.second_look_after_hash:
            known = caller._replace(known=state.returned)
            yield "its hash is computed, and it is accepted", self._done(state, known)
        elif caller.step == "hashing":
            again = caller._replace(step="asked again", known=state.returned)
            yield "its hash is computed", state._replace(caller=again)
        elif self._proves(state.slot, anywhere=caller.step == "asked"):
            pat = state.slot.pat
            assert pat is not None
            carried = caller.step == "asked" and self.design.requests_carry_version
            if carried and pat.version != caller.version:
                if pat.inside:
                    judged = caller._replace(version=pat.version)
                    yield "a process judges the networks", state._replace(caller=judged)
                return
            shown = self._principal(state, "hashing")._replace(known=caller.known)
            shown = shown._replace(cut=self._cut(state, shown))
            yield "the store finds it right, and it is accepted", self._done(state, shown)
            if caller.step == "asked" and not self.by_token:
                yield "the store finds it right, and it must be hashed", state._replace(caller=shown)

    def _exchange(self, state: State) -> Steps:
        caller, slot = state.caller, state.slot
        if not self._proves(slot, anywhere=True):
            return
        assert slot.pat is not None
        if caller.step == "proven" and slot.pat.version == caller.version:
            yield "the store issues the token", self._done(state, caller)
        elif slot.pat.inside:
            yield "the secret is proven", self._judged(state, self._principal(state, "proven"), "proven")

    # -- the ends -------------------------------------------------------------------------------------

    def _end(self, state: State, number: int) -> Steps:
        end, who = state.ends[number], f"call {number + 1}"
        if end.step == "begin":
            if number == 0 or state.ends[0].step != "begin":  # the other order is the same
                for kind in ENDS:
                    if kind != "revoke the token" or self.by_token:
                        yield from self._begin(state, number, kind, f"{who} ({kind})")
        elif end.step == "written":
            durable = state._replace(durable=state.slot)
            yield f"the write of {who} is durable", self._put(durable, number, end._replace(step="waiting"))
        elif end.step == "found":
            yield from self._confirm(state, number, who)
        elif end.step == "waiting" and not end.wait:
            lost = end.covers & ~state.slot.ends and not self._is_done(state.slot, end.kind)
            broken = "an end has returned that was lost" if lost else ""
            after = state._replace(returned=state.returned | end.covers, broken=broken)
            yield f"{who} returns", self._put(after, number, End("returned", end.kind))

    def _put(self, state: State, number: int, end: End) -> State:
        ends = (end, state.ends[1]) if number == 0 else (state.ends[0], end)
        slot, durable, caller, _, *rest = state
        return State(slot, durable, caller, ends, *rest)

    def _is_done(self, slot: Slot, kind: str) -> bool:
        pat = slot.pat
        if kind == "take the right":
            return pat is not None and not pat.right
        if kind == "take the scope":
            return pat is not None and not pat.scope
        if kind == "take the network":
            return pat is not None and not pat.inside
        if kind == "disable the PAT":
            return pat is not None and not pat.active
        if kind == "revoke the token":
            return pat is None or not slot.token
        return kind in ("delete", "revoke the owner") and pat is None

    def _begin(self, state: State, number: int, kind: str, who: str) -> Steps:
        """The read, and the script that writes if there is something to end."""
        slot, pat, design = state.slot, state.slot.pat, self.design
        if self._is_done(slot, kind):
            before = [1 << n for n, end in enumerate(state.ends) if end.kind in DONE_BY[kind]]
            step = "found"
            narrows = kind.startswith("take") or kind == "disable the PAT"
            if narrows and not pat.mark and not design.unmarked_repeat_confirms:
                step = "waiting"
            found = End(step, kind, 0, sum(before) & slot.ends)
            yield f"{who} finds that it is done", self._put(state, number, found)
            return
        if pat is None:
            return  # not found
        reaches = pat.mark if design.waits_by == "mark" else pat.right and self.over_others
        if kind in ("disable the owner", "revoke the owner"):
            reaches = True
        version = self._next_version(state, moves=kind != "disable the owner")
        after: Pat | None = pat._replace(version=version)
        token = slot.token
        if kind in ("delete", "revoke the owner"):
            after = None
        elif kind in ("disable the owner", "disable the PAT"):
            after = after._replace(active=False)
        elif kind == "take the right":
            after = after._replace(right=False)
        elif kind == "take the scope":
            after = after._replace(scope=False)
        elif kind == "take the network":
            after = after._replace(inside=False)
        elif kind == "revoke the token":
            after, token = pat, False
        else:
            overlap = OVERLAP if "overlap" in kind else 0
            after = after._replace(generation=pat.generation + 1, overlap=overlap)
        bit = 1 << number
        slot = Slot(after, token, WAIT if reaches else slot.key, slot.ends | bit)
        wait = slot.key if reaches or design.waits_for_others == "each end" else 0
        step = "waiting" if state.durable is None else "written"
        ended = self._put(state._replace(slot=slot), number, End(step, kind, wait, bit))
        caller = state.caller
        if caller.step in ("sent", "judged", "hashing", "proven"):
            cut = caller.cut | (self._cut(ended, caller) & bit)
            ended = ended._replace(caller=caller._replace(cut=cut))
        yield f"{who} writes", ended

    def _confirm(self, state: State, number: int, who: str) -> Steps:
        """The barrier, and how long an earlier end still has to wait."""
        end, slot = state.ends[number], state.slot
        if self.design.done_is_seen_durably and not self._is_done(slot, end.kind):
            yield f"{who} finds that it is not done", self._put(state, number, End())
            return
        wait = 0 if self.design.waits_for_others == "none" else slot.key
        durable = state if state.durable is None else state._replace(durable=slot)
        yield (
            f"{who} confirms that it is durable",
            self._put(durable, number, end._replace(step="waiting", wait=wait)),
        )

    # -- what happens around them ---------------------------------------------------------------------

    def _next_version(self, state: State, *, moves: bool = True) -> int:
        pat = state.slot.pat
        assert pat is not None
        if self.design.version == "counter":
            return pat.version + 1
        if self.design.version == "sequence":
            return pat.version + moves
        seen = {pat.version, state.caller.version}
        if state.durable is not None and state.durable.pat is not None:
            seen.add(state.durable.pat.version)
        return next(number for number in range(1, 5) if number not in seen)

    def _host(self, state: State) -> Steps:
        pat = state.slot.pat
        if not state.host or pat is None:
            return
        moved = pat._replace(version=self._next_version(state))
        changes = {"renames the PAT": moved}
        if not pat.active:
            version = self._next_version(state, moves=False)
            changes["enables the owner, or the PAT"] = pat._replace(active=True, version=version)
        if not (pat.right and pat.scope and pat.inside):
            changes["gives right, scope and network"] = moved._replace(
                right=True, scope=True, inside=True, mark=self.over_others
            )
        for name, after in changes.items():
            changed = state._replace(slot=state.slot._replace(pat=after), host=state.host - 1)
            yield f"the host {name}", changed
            if state.durable is not None:
                yield f"the host {name}, durably", changed._replace(durable=changed.slot)

    def _lost(self, state: State) -> State:
        slot = state.durable
        assert slot is not None
        ends = tuple(End("failed") if end.step == "written" else end for end in state.ends)
        caller = state.caller._replace(cut=state.caller.cut & slot.ends)
        return state._replace(slot=slot, durable=None, ends=ends, caller=caller)


def _tick(state: State) -> State:
    """Return the state one tick later."""
    slot, durable, caller, (one, other) = state.slot, state.durable, state.caller, state.ends
    return State(
        _slot_later(slot),
        None if durable is None else _slot_later(durable),
        caller._replace(window=caller.window - 1) if caller.window else caller,
        (_end_later(one), _end_later(other)),
        *state[4:],
    )


def _slot_later(slot: Slot) -> Slot:
    if slot.pat is not None and slot.pat.overlap:
        slot = slot._replace(pat=slot.pat._replace(overlap=slot.pat.overlap - 1))
    return slot._replace(key=slot.key - 1) if slot.key else slot


def _end_later(end: End) -> End:
    return end._replace(wait=end.wait - 1) if end.wait else end
