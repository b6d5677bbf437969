"""Drains of real processes: rooms leave a draining node while their clients stay in the meeting, and progress is told at
any node."""
import asyncio
import json

import pytest
from livekit import api
from nodes import KEY, SECRET, Cluster
from test_rooms import eventually, join
from test_takeover import told_of_move

pytestmark = pytest.mark.asyncio


def drains(node):
    return json.loads(node.skein("node", "drains", "--json"))["drains"]


async def test_rooms_of_a_draining_node_move_and_their_clients_with_them():
    with Cluster() as cluster:
        nodes = cluster.nodes
        async with api.LiveKitAPI(nodes[0].http, KEY, SECRET) as lk:
            names = [f"room{number}" for number in range(6)]
            for name in names:
                await lk.room.create_room(api.CreateRoomRequest(name=name))
            home = cluster.home_of("room0", nodes[0])
            asked, other = [node for node in nodes if node is not home]
            clients = [await join(other, "room0", f"client{number}") for number in range(2)]

            out = await asyncio.to_thread(
                asked.skein, "node", "drain", home.name, "--wait", "--deadline", "60", "--json")
            assert json.loads(out)["phase"] == "done", out

            for name in names:
                assert cluster.home_of(name, asked) is not home, f"{name} is still there"

            async def all_in():
                found = await lk.room.list_participants(api.ListParticipantsRequest(room="room0"))
                active = [p for p in found.participants if p.state == api.ParticipantInfo.State.ACTIVE]
                return len(active) == 2
            await eventually(all_in, "both clients to be in the room that moved")
            former, _ = await told_of_move(cluster, asked, "room0", "drain")
            assert former == home.name
            told = drains(other)
            assert [drain["phase"] for drain in told] == ["done"], told
            assert told[0]["rooms_left"] == 0

            other.skein("node", "undrain", home.name)
            await eventually(lambda: drains(asked) == [], "the drain to be over")
            for client in clients:
                await client.disconnect()
