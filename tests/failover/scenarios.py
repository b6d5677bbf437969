"""What is struck, and how it is healed; each leaves a whole cluster behind."""
import dataclasses
import time
import typing

from stage import PROTECTED_WITHIN_S, until


@dataclasses.dataclass
class Scenario:
    title: str
    strike: typing.Callable
    heal: typing.Callable
    #: Of the stage: who is struck.
    victims: typing.Callable = lambda stage: [stage.cluster.home(stage.room)]
    needs_network: bool = False
    #: A node that was taken for dead again and again comes back later and later: then another cluster is struck.
    kills_a_cluster: typing.Optional[int] = None

    async def run(self, stage):
        """One strike under a fresh room; whom it hit and what came of it, in words."""
        await stage.fill()
        victims = self.victims(stage)

        def strike():
            for node in victims:
                self.strike(stage, node)
        told = await stage.measure(self.title, strike)
        for node in victims:
            self.heal(stage.cluster, node)
        await until(lambda: all(node.answers() for node in victims), "the node to come back")
        await stage.leave()
        # It must be a member again before the next strike, or two would be gone at once. A process that was taken for dead
        # again and again within an hour waits for up to five minutes before it takes part again.
        await until(stage.cluster.whole, "the cluster to be whole again", 330)
        return f"{', '.join(node.name for node in victims)}: {told}"


def others(cluster, node):
    return [other.name for other in cluster.nodes if other is not node]


def upgrade(stage, first):
    """As a rolling upgrade does: one media node after the other is drained and given work again, the room's home first."""
    cluster = stage.cluster
    for node in [first, *(other for other in cluster.media if other is not first)]:
        cluster.master().skein("node", "drain", node.name, "--wait")
        cluster.master().skein("node", "undrain", node.name)
        deadline = time.monotonic() + PROTECTED_WITHIN_S
        while not cluster.protected(stage.room) and time.monotonic() < deadline:
            time.sleep(0.2)


SCENARIOS = {
    "media": Scenario("media node, kill -9", lambda _, node: node.kill(), lambda _, node: node.start()),
    "pause": Scenario("media node, SIGSTOP", lambda _, node: node.pause(), lambda _, node: node.go_on(), kills_a_cluster=6),
    "masters": Scenario(
        "two masters at once, kill -9", lambda _, node: node.kill(), lambda _, node: node.start(),
        victims=lambda stage: stage.random.sample(stage.cluster.masters, 2)),
    "drain": Scenario(
        "drain of a media node", lambda stage, node: stage.cluster.master().skein("node", "drain", node.name),
        lambda cluster, node: cluster.master().skein("node", "undrain", node.name)),
    # Nothing answers any more, not even a kernel; then the cable is back and an old home wakes up.
    "host": Scenario(
        "media host, cable pulled", lambda stage, node: stage.cluster.network.pull(node.name),
        lambda cluster, _: cluster.network.plug(), needs_network=True, kills_a_cluster=6),
    # Clients reach the node, its masters do not: the room moves, and the old home must not harm it.
    "cut": Scenario(
        "media node cut from all nodes", lambda stage, node: stage.cluster.network.part([node.name], others(stage.cluster, node)),
        lambda cluster, _: cluster.network.join(), needs_network=True, kills_a_cluster=6),
    "upgrade": Scenario("all media nodes drained in turn", upgrade, lambda *_: None),
    # What the same clients miss on the same machine when nothing is wrong: no gap can be measured below it.
    "nothing": Scenario("nothing (floor of this machine)", lambda *_: None, lambda *_: None),
}
# Of takeovers; the rest is for a node's death without one.
TAKEOVER = ["nothing", "media", "host", "cut", "pause", "drain"]
