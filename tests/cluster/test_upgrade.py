"""A cluster that is upgraded node by node: nodes held at an older version of the log and new ones are one cluster."""
import asyncio
import json
import signal

import pytest
from livekit import api
from nodes import KEY, SECRET, Cluster
from test_rooms import eventually, join

pytestmark = pytest.mark.asyncio

HELD = "  log_version_max: 1\n"
# `consensus::encoding::VERSION`
NEWEST = 3


def status(node):
    return json.loads(node.skein("cluster", "status", "--json"))


def log_versions(node):
    """Of the cluster, and what each node takes part in."""
    told = status(node)
    return told["log_version"], {one["host"]: one["log_version"] for one in told["nodes"] if one["state"] == "active"}


async def restart(node, asked, held):
    """As an operator does: drained, stopped, started with another configuration."""
    asked.skein("node", "drain", node.name)
    configuration = node.folder / "livekit.yaml"
    text = configuration.read_text().replace(HELD, "")
    node.kill(signal.SIGTERM)
    configuration.write_text(text + (HELD if held else ""))
    node.start()

    def is_back():
        known = status(asked)
        if known["voters_alive"] < 3 or not node.answers():
            return False
        if any(one["state"] == "draining" for one in known["nodes"]):
            asked.skein("node", "undrain", node.name)
        return all(one["state"] == "active" for one in known["nodes"])
    await eventually(is_back, f"{node.name} to be back", within=40)


async def works(nodes, room):
    """A room is placed through each node, and two clients meet over two of them."""
    for number, node in enumerate(nodes):
        async with api.LiveKitAPI(node.http, KEY, SECRET) as lk:
            await lk.room.create_room(api.CreateRoomRequest(name=f"{room}-{number}"))
    near, far = await join(nodes[0], room, "near"), await join(nodes[1], room, "far")
    await eventually(lambda: "far" in near.remote_participants, f"near to see far in {room}")
    await asyncio.gather(near.disconnect(), far.disconnect())


async def test_nodes_of_two_versions_are_one_cluster_and_the_log_follows_the_oldest():
    with Cluster(more=HELD) as cluster:
        nodes = cluster.nodes
        first, second, last = nodes

        async def are(cluster, *each):
            expected = (cluster, dict(zip(("node1", "node2", "node3"), each)))
            await eventually(lambda: log_versions(last) == expected, f"versions {expected}, not {log_versions(last)}")
        await are(1, 1, 1, 1)
        await works(nodes, "before")
        await restart(first, last, held=False)
        await are(1, NEWEST, 1, 1)
        await works(nodes, "mixed")
        # Taken back, as long as one of them is old.
        await restart(first, last, held=True)
        await works(nodes, "back")
        for node, others in ((first, last), (second, last)):
            await restart(node, others, held=False)
        await are(1, NEWEST, NEWEST, 1)
        await works(nodes, "nearly")
        await restart(last, first, held=False)
        await are(NEWEST, NEWEST, NEWEST, NEWEST)
        await works(nodes, "after")
        # Everything is on disk as all read it.
        for node in nodes:
            node.kill()
        for node in nodes:
            node.start()

        def is_read():
            return all(node.answers() for node in nodes) and log_versions(first)[0] == NEWEST
        await eventually(is_read, "the log to be read again")
