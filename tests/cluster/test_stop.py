"""A node that is told to stop says so: new rooms go elsewhere at once, and at its end its clients are in the meeting still."""
import asyncio
import json
import signal
import urllib.error
import urllib.request

import pytest
from livekit import api
from nodes import KEY, SECRET, Cluster
from test_rooms import eventually, join

pytestmark = pytest.mark.asyncio


def state_of(asked, node):
    known = json.loads(asked.skein("cluster", "status", "--json"))["nodes"]
    return next(one["state"] for one in known if one["host"] == node.name)


def is_healthy(node):
    try:
        return urllib.request.urlopen(node.http, timeout=2).status == 200
    except urllib.error.HTTPError:
        return False


async def test_a_node_that_stops_gives_its_rooms_and_clients_to_others():
    with Cluster() as cluster:
        nodes = cluster.nodes
        async with api.LiveKitAPI(nodes[0].http, KEY, SECRET) as lk:
            await lk.room.create_room(api.CreateRoomRequest(name="daily"))
        home = cluster.home_of("daily", nodes[0])
        asked, other = [node for node in nodes if node is not home]
        near, far = await join(home, "daily", "near"), await join(other, "daily", "far")

        home.process.send_signal(signal.SIGTERM)
        await eventually(lambda: state_of(asked, home) == "draining", "the log to know that it stops")
        assert not is_healthy(home), "a balancer sends nobody there"
        async with api.LiveKitAPI(asked.http, KEY, SECRET) as lk:
            for number in range(6):
                name = f"room{number}"
                await lk.room.create_room(api.CreateRoomRequest(name=name))
                assert cluster.home_of(name, asked) is not home, f"{name} was placed where nothing is taken"
            assert len((await lk.room.list_participants(api.ListParticipantsRequest(room="daily"))).participants) == 2
            assert home.runs(), "somebody is in its room"

            home.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(home.process.wait, 20) == 0
            assert state_of(asked, home) == "dead", "nobody had to find out"

            async def back():
                try:
                    found = await lk.room.list_participants(api.ListParticipantsRequest(room="daily"))
                except api.TwirpError:
                    return False
                active = {p.identity for p in found.participants if p.state == api.ParticipantInfo.State.ACTIVE}
                # Whoever was connected to the node itself finds no other address in this test.
                return "far" in active and cluster.home_of("daily", asked) is not home
            await eventually(back, "the client of another node to be in the room")

        home.start()
        await eventually(lambda: state_of(asked, home) == "active", "the node to take rooms again")
        await asyncio.gather(near.disconnect(), far.disconnect())
