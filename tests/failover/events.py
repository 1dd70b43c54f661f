"""What is done to the servers in a round, while the traffic goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from patauth.store.transport.cluster_map import slot_of
from tests.failover.history import TRUST
from tests.failover.worlds import ClusterWorld, SentinelWorld, World
from tests.support.clusters import Cluster, Node
from tests.support.servers import until

TAKEOVER = 30.0  # s until a replica has taken over, on a busy machine
AFTER = 1.0  # s of traffic after that, and after an old primary may be believed
_MOVED = 3  # slots at a time


@dataclass
class Scene:
    """A round as an event sees it.

    `tags` are the owner tags of the round, and `wake` wakes the process that is idle. `cut` is the instant
    at which the old primary was cut off; None: it was not.
    """

    world: World
    chance: Random
    tags: Sequence[str]
    wake: Callable[[], None]
    cut: float | None = None

    def struck(self) -> None:
        """Note that the old primary is cut off now."""
        self.cut = time.monotonic()

    def wait_for_another(self) -> None:
        """Wait until another server has taken over."""
        until(self.world.is_replaced, TAKEOVER)

    def go_on(self) -> None:
        """Wake the idle process, and let the traffic go on, also when no old primary may be believed."""
        self.wake()
        trusted = 0.0 if self.cut is None else self.cut + TRUST - time.monotonic()
        time.sleep(max(0.0, trusted) + AFTER)


def kill(scene: Scene) -> None:
    """Kill the primary."""
    scene.world.old.kill()
    scene.struck()
    scene.wait_for_another()
    scene.go_on()


def stop(scene: Scene) -> None:
    """Stop the primary, and let it go on after another one has taken over and ended some credentials."""
    scene.world.old.freeze()
    scene.struck()
    scene.wait_for_another()
    time.sleep(scene.chance.uniform(0.5, 1.5))
    scene.wake()  # a little before, so that some requests wait for it when it goes on
    time.sleep(scene.chance.uniform(0.0, 0.2))
    scene.world.old.thaw()
    scene.go_on()


def order(scene: Scene) -> None:
    """Order a failover."""
    scene.world.fail_over()
    scene.struck()
    scene.wait_for_another()
    scene.go_on()


def part(scene: Scene) -> None:
    """Cut the primary off from its replicas and the Sentinels, and a process from the Sentinels alone."""
    assert isinstance(scene.world, SentinelWorld)
    scene.world.part()
    scene.struck()
    scene.wait_for_another()
    scene.go_on()


def freeze_replica(scene: Scene) -> None:
    """Stop a replica while changes go on, then kill the primary. The replica goes on just then, or later."""
    frozen = scene.chance.choice(scene.world.heirs)
    frozen.freeze()
    time.sleep(scene.chance.uniform(0.5, 1.0))
    scene.world.old.kill()
    scene.struck()
    if scene.world.copies == 1 or scene.chance.random() < 0.5:
        frozen.thaw()
    scene.wait_for_another()
    scene.go_on()


def move_keys(scene: Scene) -> None:
    """Move slots of owners key by key, as MIGRATE does."""

    def move(cluster: Cluster, slot: int, source: Node, target: Node) -> None:
        cluster.begin_to_move(slot, source, target)
        while cluster.move_keys(slot, source, target, 1):
            time.sleep(0.05)
        cluster.end_move(slot, target)

    _move(scene, move)


def move_slots(scene: Scene) -> None:
    """Move slots of owners whole (Valkey 9, CLUSTER MIGRATESLOTS)."""

    def move(cluster: Cluster, slot: int, source: Node, target: Node) -> None:
        source.cluster("MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        until(lambda: target.slots()[slot] == target.address, TAKEOVER)

    _move(scene, move)


def _move(scene: Scene, move: Callable[[Cluster, int, Node, Node], None]) -> None:
    """Move some slots of owners under test from the primary to another one."""
    assert isinstance(scene.world, ClusterWorld)
    cluster, source = scene.world.cluster, scene.world.old
    target = scene.chance.choice([node for node in cluster.nodes if node is not source])
    mine = sorted({slot_of(tag.encode()) for tag in set(scene.tags) - scene.world.elsewhere(scene.tags)})
    for slot in scene.chance.sample(mine, min(_MOVED, len(mine))):
        move(cluster, slot, source, target)
    scene.go_on()


EVENTS: dict[str, Callable[[Scene], None]] = {
    "kill": kill,
    "stop": stop,
    "order": order,
    "part": part,
    "freeze-replica": freeze_replica,
    "move-keys": move_keys,
    "move-slots": move_slots,
}


def possible(world: World) -> list[str]:
    """Return the names of the events that can happen to these servers."""
    if isinstance(world, ClusterWorld):
        is_new = any(b"MIGRATESLOTS" in line for line in world.cluster.nodes[0].cluster("HELP"))
        return [name for name in EVENTS if name != "part" and (is_new or name != "move-slots")]
    return [name for name in EVENTS if not name.startswith("move")]
