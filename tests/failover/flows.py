"""Clients that send and receive, and the gaps in what they decode. Times are of the monotonic clock."""
import asyncio
import time

import numpy as np
from livekit import api, rtc

from nodes import KEY, SECRET

RATE, AUDIBLE = 48_000, 300.0
# Small: encoders and decoders of all clients share a machine with the cluster.
WIDTH, HEIGHT = 320, 180


def token(room, identity):
    grants = api.VideoGrants(room_join=True, room=room)
    return api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants).to_jwt()


class Flow:
    """When something was decoded, of one kind from one participant, whatever tracks carried it."""

    def __init__(self):
        self.at = []

    def gap(self, since, until):
        """Longest silence, ms; it may go on at the end."""
        inside = [at for at in self.at if since <= at <= until]
        edges = [since, *inside, until]
        return max(b - a for a, b in zip(edges, edges[1:])) * 1_000

    def flows(self, within):
        return bool(self.at) and time.monotonic() - self.at[-1] < within


class Wheel:
    """A client on libwebrtc: sends a tone and a picture, decodes those of the others.

    It subscribes when its own tracks flow. The SDK changes its offer with its first picture, whereupon libwebrtc
    (1.2 of the SDK) makes its receivers anew, and one that gets a packet meanwhile shows no picture ever again.
    What it asks for while it starts over is lost (the SDK says it to the session that it has just closed): it asks again.
    """

    #: Seconds until what was decoded last is old.
    fresh_s = 0.3

    def __init__(self, identity):
        self.identity, self.flows, self.tasks, self.events = identity, {}, [], []
        self.publishes = False
        self.room = rtc.Room()
        self.room.on("track_subscribed", self.subscribed)
        self.room.on("track_published", lambda publication, _participant: self.publishes and publication.set_subscribed(True))
        self.room.on("reconnected", self.subscribe)
        for name in ("disconnected", "reconnecting", "reconnected", "participant_disconnected", "participant_connected"):
            self.room.on(name, lambda *_, name=name: self.events.append((time.monotonic(), name)))

    def flow(self, other, kind):
        return self.flows.setdefault((other, kind), Flow())

    def subscribed(self, track, _publication, participant):
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            reading = self.listen(track, self.flow(participant.identity, "audio"))
        else:
            reading = self.watch(track, self.flow(participant.identity, "video"))
        self.tasks.append(asyncio.ensure_future(reading))

    async def listen(self, track, flow):
        async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=10):
            pcm = np.frombuffer(event.frame.data, np.int16)
            # What a decoder makes up for lost packets fades within some 60 ms: below this it is silence.
            if np.abs(pcm.astype(float)).mean() > AUDIBLE:
                flow.at.append(time.monotonic())

    async def watch(self, track, flow):
        async for _ in rtc.VideoStream(track):
            flow.at.append(time.monotonic())

    async def join(self, url, room, single_pc=False):
        options = rtc.RoomOptions(single_peer_connection=single_pc, auto_subscribe=False)
        await self.room.connect(url, token(room, self.identity), options)
        camera, microphone = rtc.VideoSource(WIDTH, HEIGHT), rtc.AudioSource(RATE, 1, queue_size_ms=100)
        self.tasks += [asyncio.ensure_future(self.film(camera)), asyncio.ensure_future(self.sing(microphone))]
        me = self.room.local_participant
        await me.publish_track(
            rtc.LocalAudioTrack.create_audio_track("tone", microphone),
            rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False))
        picture = rtc.LocalVideoTrack.create_video_track("picture", camera)
        await me.publish_track(
            picture, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False))
        await self.sends(picture)
        self.publishes = True
        self.subscribe()

    def subscribe(self):
        for participant in self.room.remote_participants.values():
            for publication in participant.track_publications.values():
                if not publication.subscribed:
                    publication.set_subscribed(True)

    @staticmethod
    async def sends(track, within=20):
        deadline = time.monotonic() + within
        while not any(row.outbound_rtp.sent.bytes_sent for row in await track.get_stats() if row.HasField("outbound_rtp")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"expected to send a picture within {within} s")
            await asyncio.sleep(0.05)

    async def film(self, camera):
        random, level = np.random.default_rng(1), 0
        while True:
            level = (level + 8) % 200
            frame = np.full((HEIGHT, WIDTH, 4), level + 30, np.uint8)
            frame[::4, ::4, :3] += random.integers(0, 16, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
            camera.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, frame.tobytes()))
            await asyncio.sleep(1 / 30)

    async def sing(self, microphone):
        at = 0
        while True:
            t = (np.arange(480) + at) / RATE
            at += 480
            pcm = (np.sin(2 * np.pi * 440 * t) * 8_000).astype(np.int16)
            await microphone.capture_frame(rtc.AudioFrame(pcm.tobytes(), RATE, 1, 480))

    async def leave(self):
        for task in self.tasks:
            task.cancel()
        await self.room.disconnect()


class Asker:
    """Asks the server API who is in the room, all the time, of one master after the other."""

    def __init__(self, urls, room, expected):
        self.urls, self.room, self.expected, self.flow = urls, room, set(expected), Flow()
        self.task = asyncio.ensure_future(self.ask())

    async def sids(self):
        """Of everybody in the room, by name; who has none, by identity."""
        for _ in range(100):
            for url in self.urls:
                try:
                    async with api.LiveKitAPI(url, KEY, SECRET) as client:
                        request = api.ListParticipantsRequest(room=self.room)
                        listed = await asyncio.wait_for(client.room.list_participants(request), 1)
                        return {one.name or one.identity: one.sid for one in listed.participants}
                except Exception:  # noqa: BLE001 - another one may answer
                    continue
            await asyncio.sleep(0.1)
        return {}

    async def ask(self):
        clients = [api.LiveKitAPI(url, KEY, SECRET) for url in self.urls]
        turn = 0
        try:
            while True:
                client = clients[turn % len(clients)]
                try:
                    request = api.ListParticipantsRequest(room=self.room)
                    await asyncio.wait_for(client.room.list_participants(request), 0.5)
                    self.flow.at.append(time.monotonic())
                except Exception:  # noqa: BLE001 - whatever went wrong, it was no answer
                    turn += 1
                await asyncio.sleep(0.02)
        finally:
            for client in clients:
                await client.aclose()
