"""One room over all nodes of a cluster, with real clients: what each publishes reaches every other, and the death of a node
that carries some of them is nothing to the rest."""
import asyncio

import pytest
from livekit import api, rtc
from nodes import KEY, SECRET, Cluster
from test_rooms import eventually, join, silence

pytestmark = pytest.mark.asyncio
SIDE = 320


async def pictures(source, stop):
    frame = rtc.VideoFrame(SIDE, SIDE, rtc.VideoBufferType.RGBA, bytes([200, 60, 20, 255]) * (SIDE * SIDE))
    while not stop.is_set():
        source.capture_frame(frame)
        await asyncio.sleep(1 / 20)


class Person:
    """Publishes sound and pictures, counts the frames of everybody else and keeps what it is told."""

    def __init__(self, name):
        self.name, self.frames, self.data, self.back = name, {}, [], 0
        self.stop, self.tasks = asyncio.Event(), []

    async def come(self, node, room):
        self.client = rtc.Room()
        self.client.on("track_subscribed", lambda track, _, who: self.tasks.append(asyncio.ensure_future(self.count(track, who.identity))))
        self.client.on("data_received", lambda packet: self.data.append((packet.participant.identity, packet.data)))
        self.client.on("reconnecting", self.away)
        token = api.AccessToken(KEY, SECRET).with_identity(self.name).with_grants(api.VideoGrants(room_join=True, room=room))
        await self.client.connect(node.url, token.to_jwt())
        sound, picture = rtc.AudioSource(48_000, 1), rtc.VideoSource(SIDE, SIDE)
        self.tasks += [asyncio.ensure_future(silence(sound, self.stop)), asyncio.ensure_future(pictures(picture, self.stop))]
        me = self.client.local_participant
        await me.publish_track(rtc.LocalAudioTrack.create_audio_track("sound", sound))
        await me.publish_track(rtc.LocalVideoTrack.create_video_track("picture", picture))

    def away(self):
        self.back += 1

    async def count(self, track, who):
        video = track.kind == rtc.TrackKind.KIND_VIDEO
        key = (who, "picture" if video else "sound")
        async for _ in rtc.VideoStream(track) if video else rtc.AudioStream(track):
            self.frames[key] = self.frames.get(key, 0) + 1

    def gets(self, others, more_than=None):
        """More frames of everything of the others than some time ago."""
        before = more_than or {}
        keys = [(other.name, kind) for other in others for kind in ("sound", "picture")]
        return all(self.frames.get(key, 0) >= before.get(key, 0) + 20 for key in keys)

    async def go(self):
        self.stop.set()
        await self.client.disconnect()
        for task in self.tasks:
            task.cancel()


async def test_a_room_over_three_nodes_is_one_room_and_a_dead_guest_takes_only_its_own():
    with Cluster(more="  room_node_participants: 1") as cluster:
        nodes = cluster.nodes
        async with api.LiveKitAPI(nodes[0].http, KEY, SECRET) as lk:
            await lk.room.create_room(api.CreateRoomRequest(name="daily"))
            home = cluster.home_of("daily", nodes[0])
            # The home has asked the others what they are.
            await asyncio.sleep(2)
            people = [Person(f"p{number}") for number in range(3)]
            for person in people:
                await person.come(home, "daily")
            others = lambda person: [other for other in people if other is not person]  # noqa: E731
            everybody = lambda: all(person.gets(others(person)) for person in people)  # noqa: E731
            await eventually(everybody, "everybody to hear and see everybody", 40)

            # Everybody is carried by another node: the relays of each have something to do.
            parts = [node for node in nodes if "carries a part of a room" in node.log()]
            assert len(parts) == 2 and home not in parts, [node.name for node in parts]

            await people[1].client.local_participant.publish_data(b"hello", reliable=True)
            told = lambda: all(("p1", b"hello") in person.data for person in others(people[1]))  # noqa: E731
            await eventually(told, "data to reach everybody")
            listed = await lk.room.list_participants(api.ListParticipantsRequest(room="daily"))
            assert {one.identity for one in listed.participants} == {"p0", "p1", "p2"}

            # Who is carried by a node that dies starts over; the others go on without a break of theirs.
            parts[0].kill()
            await eventually(lambda: sum(person.back for person in people) >= 1, "somebody to be sent back", 20)
            await asyncio.sleep(3)
            seen = [dict(person.frames) for person in people]
            again = lambda: all(person.gets(others(person), before) for person, before in zip(people, seen))  # noqa: E731
            await eventually(again, "everybody to hear and see everybody again", 40)
            assert sum(person.back > 0 for person in people) == 1
            for person in people:
                await person.go()
