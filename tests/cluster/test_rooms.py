"""Rooms over nodes, with real clients: any node lets anybody into any room, answers for any room, and
rooms outlive their nodes."""
import asyncio
import time

import pytest
from livekit import api, rtc
from nodes import KEY, SECRET, Cluster

pytestmark = pytest.mark.asyncio


def token(room, identity):
    grants = api.VideoGrants(room_join=True, room=room)
    return api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants).to_jwt()


async def eventually(probe, what, within=20.0):
    deadline = time.monotonic() + within
    while not (value := await probe() if asyncio.iscoroutinefunction(probe) else probe()):
        assert time.monotonic() < deadline, f"expected {what} within {within:g} s"
        await asyncio.sleep(0.02)
    return value


async def join(node, room, identity):
    client = rtc.Room()
    await client.connect(node.url, token(room, identity))
    return client


async def silence(source, stop):
    while not stop.is_set():
        await source.capture_frame(rtc.AudioFrame(bytes(960), 48_000, 1, 480))


async def test_clients_of_any_node_meet_and_their_room_outlives_its_home():
    with Cluster() as cluster:
        nodes = cluster.nodes
        async with api.LiveKitAPI(nodes[0].http, KEY, SECRET) as first, api.LiveKitAPI(nodes[2].http, KEY, SECRET) as third:
            made = await first.room.create_room(api.CreateRoomRequest(name="daily"))
            home = cluster.home_of("daily", nodes[0])
            others = [node for node in nodes if node is not home]
            near, far = await join(others[0], "daily", "near"), await join(others[1], "daily", "far")
            assert (await near.sid, await far.sid) == (made.sid, made.sid)

            source, stop = rtc.AudioSource(48_000, 1), asyncio.Event()
            feeder = asyncio.ensure_future(silence(source, stop))
            heard = asyncio.Event()
            far.on("track_subscribed", lambda *_: heard.set())
            track = rtc.LocalAudioTrack.create_audio_track("voice", source)
            await near.local_participant.publish_track(track)
            await asyncio.wait_for(heard.wait(), 10)

            for ask in (first, third):
                listed = await ask.room.list_rooms(api.ListRoomsRequest())
                assert [(room.name, room.num_participants) for room in listed.rooms] == [("daily", 2)]
            assert "daily" in home.skein("room", "inspect", "daily")

            home.kill()
            alive = first if home is not nodes[0] else third

            async def both():
                try:
                    people = await alive.room.list_participants(api.ListParticipantsRequest(room="daily"))
                except api.TwirpError:
                    return False
                return sorted(person.identity for person in people.participants) == ["far", "near"]

            async def moved():
                return cluster.home_of("daily", others[0]) is not home
            await eventually(moved, "another home of the room")
            await eventually(both, "both in the room at its new home")
            stop.set()
            await feeder
            await alive.room.delete_room(api.DeleteRoomRequest(room="daily"))
            again = await alive.room.create_room(api.CreateRoomRequest(name="daily"))
            assert again.sid != made.sid
            await asyncio.gather(near.disconnect(), far.disconnect())
