"""A killed home that nobody notices: its standby goes on with the clients' transports, and no client is told anything."""
import asyncio
import json

import pytest
from livekit import api, rtc
from nodes import KEY, SECRET, Cluster
from test_rooms import eventually, join, silence

pytestmark = pytest.mark.asyncio


def protected(node, room):
    """How each participant would come through the loss of its node."""
    inspected = json.loads(node.skein("room", "inspect", room, "--json"))
    return {one["identity"]: one["protected"] for one in inspected["participants"]}


async def sids(lk, room):
    listed = await lk.room.list_participants(api.ListParticipantsRequest(room=room))
    return {one.identity: one.sid for one in listed.participants}


async def test_a_killed_home_is_not_noticed_by_clients_of_another_node():
    with Cluster() as cluster:
        nodes = cluster.nodes
        async with api.LiveKitAPI(nodes[0].http, KEY, SECRET) as lk:
            await lk.room.create_room(api.CreateRoomRequest(name="daily"))
        home = cluster.home_of("daily", nodes[0])
        explained = json.loads(nodes[0].skein("room", "explain", "daily", "--json"))
        known = json.loads(nodes[0].skein("cluster", "status", "--json"))["nodes"]
        standby = next(n["host"] for n in known if f"n{n['id']}" == explained["standby"])
        gateway = next(node for node in nodes if node is not home and node.name != standby)
        alice, bob = await join(gateway, "daily", "alice"), await join(gateway, "daily", "bob")

        events, frames, data = [], asyncio.Queue(), asyncio.Queue()
        bob.on("data_received", lambda packet: data.put_nowait(packet.data))

        async def told():
            await alice.local_participant.publish_data(b"hello", reliable=True)
            return not data.empty()
        await eventually(told, "data from alice to bob")

        async def listen(track):
            async for _ in rtc.AudioStream(track, sample_rate=48_000, num_channels=1):
                frames.put_nowait(True)
        listening = []
        bob.on("track_subscribed", lambda track, *_: listening.append(asyncio.ensure_future(listen(track))))
        source, stop = rtc.AudioSource(48_000, 1), asyncio.Event()
        feeder = asyncio.ensure_future(silence(source, stop))
        await alice.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("voice", source))
        await asyncio.wait_for(frames.get(), 10)
        # Who publishes nothing is told of a little later.
        await eventually(lambda: "bob" in alice.remote_participants, "alice to know of bob")
        await eventually(lambda: set(protected(gateway, "daily").values()) == {"warm"}, "everybody to be protected")

        for client in (alice, bob):
            for name in ("reconnecting", "disconnected", "participant_disconnected", "participant_connected"):
                who = client.local_participant.identity
                client.on(name, lambda *about, name=name, who=who: events.append((who, name, str(about))))
        async with api.LiveKitAPI(gateway.http, KEY, SECRET) as lk:
            before = await sids(lk, "daily")
            events.clear()
            home.kill()

            async def moved():
                try:
                    return await sids(lk, "daily") == before and cluster.home_of("daily", gateway) is not home
                except (api.TwirpError, AssertionError):
                    return False
            await eventually(moved, "the same people at another home")
            # By way of the new home.
            while not data.empty():
                data.get_nowait()
            await eventually(told, "data from alice to bob again")
            while not frames.empty():
                frames.get_nowait()
            await asyncio.wait_for(frames.get(), 5)
            assert events == [], events
        stop.set()
        await feeder
        for task in listening:
            task.cancel()
        await asyncio.gather(alice.disconnect(), bob.disconnect())
