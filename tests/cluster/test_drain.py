"""Drains of real processes: rooms leave a draining node while their clients stay in the meeting, and progress is told at
any node."""
import asyncio
import json

import pytest
from livekit import api, rtc
from nodes import KEY, SECRET, Cluster
from test_rooms import eventually, join, silence
from test_takeover import places, protected, sids, told_of_move

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


async def call(gateway, room):
    """Two people at one gateway, one of them heard by the other: all that they notice, and how to end it."""
    alice, bob = await join(gateway, room, "alice"), await join(gateway, room, "bob")
    source, stop, heard, noticed = rtc.AudioSource(48_000, 1), asyncio.Event(), asyncio.Event(), []
    feeder = asyncio.ensure_future(silence(source, stop))
    bob.on("track_subscribed", lambda *_: heard.set())
    await alice.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("voice", source))
    await asyncio.wait_for(heard.wait(), 10)
    for client in (alice, bob):
        for name in ("reconnecting", "reconnected", "disconnected"):
            client.on(name, lambda *_, name=name: noticed.append(name))

    async def end():
        stop.set()
        await feeder
        await asyncio.gather(alice.disconnect(), bob.disconnect())
    return noticed, end


async def drain(asked, node):
    await asyncio.to_thread(asked.skein, "node", "drain", node.name, "--wait")
    asked.skein("node", "undrain", node.name)


class Line:
    """What carries the WebSockets to a node, and can be cut."""

    def __init__(self, node):
        self.node, self.writers = node, set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = "ws://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()

    def cut(self):
        for writer in self.writers:
            writer.close()
        self.writers.clear()

    async def serve(self, reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.node.port)
        self.writers |= {writer, there_writer}
        await asyncio.gather(carry(reader, there_writer), carry(there_reader, writer))


async def carry(reader, writer):
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


def warm(asked, room):
    return lambda: set(protected(asked, room).values()) == {"warm"}


async def test_a_drained_node_keeps_the_websockets_of_rooms_that_leave_it():
    with Cluster() as cluster:
        async with api.LiveKitAPI(cluster.nodes[0].http, KEY, SECRET) as lk:
            await lk.room.create_room(api.CreateRoomRequest(name="daily"))
        home, other = places(cluster, "daily")
        noticed, end = await call(home, "daily")
        await eventually(warm(other, "daily"), "everybody to be protected")
        await drain(other, home)
        async with api.LiveKitAPI(home.http, KEY, SECRET) as lk:
            assert cluster.home_of("daily", other) is not home
            people = await lk.room.list_participants(api.ListParticipantsRequest(room="daily"))
            assert sorted(one.identity for one in people.participants) == ["alice", "bob"]
        former, line = await told_of_move(cluster, other, "daily", "drain")
        assert former == home.name and "unnoticed=2" in line and "resumed=0" in line, line
        await eventually(warm(other, "daily"), "everybody to be protected by another node")
        assert noticed == []
        await end()


async def test_who_resumes_on_connections_that_were_taken_over_is_protected_again():
    """A restart of ICE finds the new home worth no less than it was as a standby, or libwebrtc drops what it finds."""
    with Cluster() as cluster:
        async with api.LiveKitAPI(cluster.nodes[0].http, KEY, SECRET) as lk:
            await lk.room.create_room(api.CreateRoomRequest(name="daily"))
        home, gateway = places(cluster, "daily")
        async with Line(gateway) as line, api.LiveKitAPI(home.http, KEY, SECRET) as lk:
            noticed, end = await call(line, "daily")
            await eventually(warm(home, "daily"), "everybody to be protected")
            before = await sids(lk, "daily")
            await drain(home, home)
            assert cluster.home_of("daily", home) not in (home, gateway) and noticed == []
            line.cut()
            await eventually(lambda: noticed.count("reconnected") == 2, "both to resume")
            await eventually(warm(home, "daily"), "everybody to be protected again")
            assert "disconnected" not in noticed and await sids(lk, "daily") == before
            await end()
