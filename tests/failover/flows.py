"""Clients that send and receive, and the gaps in what they decode. Times are of the monotonic clock."""
import asyncio
import time

import numpy as np
from livekit import api, rtc

from nodes import KEY, SECRET

RATE, AUDIBLE = 48_000, 300.0


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

    def flows(self, within=0.3):
        return bool(self.at) and time.monotonic() - self.at[-1] < within


class Wheel:
    """A client on libwebrtc: sends a tone and a picture, decodes those of the others."""

    def __init__(self, identity):
        self.identity, self.flows, self.tasks, self.events = identity, {}, [], []
        self.room = rtc.Room()
        self.room.on("track_subscribed", self.subscribed)
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
        await self.room.connect(url, token(room, self.identity), rtc.RoomOptions(single_peer_connection=single_pc))
        camera, microphone = rtc.VideoSource(640, 360), rtc.AudioSource(RATE, 1, queue_size_ms=100)
        self.tasks += [asyncio.ensure_future(self.film(camera)), asyncio.ensure_future(self.sing(microphone))]
        me = self.room.local_participant
        await me.publish_track(
            rtc.LocalAudioTrack.create_audio_track("tone", microphone),
            rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False))
        await me.publish_track(
            rtc.LocalVideoTrack.create_video_track("picture", camera),
            rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False))

    async def film(self, camera):
        random, level = np.random.default_rng(1), 0
        while True:
            level = (level + 8) % 200
            frame = np.full((360, 640, 4), level + 30, np.uint8)
            frame[::4, ::4, :3] += random.integers(0, 16, (90, 160, 3), np.uint8)
            camera.capture_frame(rtc.VideoFrame(640, 360, rtc.VideoBufferType.RGBA, frame.tobytes()))
            await asyncio.sleep(1 / 30)

    async def sing(self, microphone):
        at = 0
        while True:
            t = (np.arange(480) + at) / RATE
            at += 480
            pcm = (np.sin(2 * np.pi * 440 * t) * 8_000).astype(np.int16)
            await microphone.capture_frame(rtc.AudioFrame(pcm.tobytes(), RATE, 1, 480))

    def hears_and_sees(self, *others):
        return all(self.flow(other, kind).flows() for other in others for kind in ("audio", "video"))

    async def leave(self):
        for task in self.tasks:
            task.cancel()
        await self.room.disconnect()


# Notes when anything of others was decoded, whatever connection brought it: sound that is not made up, pictures.
# Looks 25 times a second, so a gap is known to 40 ms.
LOOK = """(() => {
  window.decoded = {audio: [], video: [], socket: []};
  window.WebSocket = class extends window.WebSocket {
    constructor(...given) { super(...given); window.decoded.socket.push(Date.now()); }
  };
  const connections = [], counts = new WeakMap();
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) { super(...given); connections.push(this); counts.set(this, {}); }
  };
  setInterval(async () => {
    for (const connection of connections.filter((c) => c.connectionState === 'connected')) {
      const known = counts.get(connection);
      for (const row of (await connection.getStats()).values()) {
        if (row.type !== 'inbound-rtp') continue;
        const count = row.kind === 'video' ? row.framesDecoded : row.totalSamplesReceived - (row.concealedSamples ?? 0);
        if (count > (known[row.id] ?? 0)) window.decoded[row.kind].push(Date.now());
        known[row.id] = count;
      }
    }
  }, 40);
})()"""


class Browser:
    """A person in the room page, in Chromium: sends its pretended camera, decodes whatever the others send."""

    def __init__(self, identity, chromium, link):
        self.identity, self.chromium, self.link, self.events = identity, chromium, link, []
        self.decoded = {"audio": Flow(), "video": Flow()}
        self.watching = None

    async def join(self, _url, _room, single_pc=False):
        self.page = await (await self.chromium.new_context()).new_page()
        await self.page.add_init_script(LOOK)
        await self.page.goto(self.link)
        await self.page.fill("input[name=username]", self.identity)
        await self.page.click("button.lk-join-button")
        self.watching = asyncio.ensure_future(self.watch())

    async def watch(self):
        while True:
            decoded = await self.page.evaluate(
                "() => { const all = window.decoded; window.decoded = {audio: [], video: [], socket: []}; return all; }")
            ahead = time.monotonic() - time.time()
            for kind, flow in self.decoded.items():
                flow.at += [at / 1_000 + ahead for at in decoded[kind]]
            self.events += [(at / 1_000 + ahead, "socket") for at in decoded["socket"]]
            await asyncio.sleep(0.1)

    def flow(self, _other, kind):
        return self.decoded[kind]

    def hears_and_sees(self, *_others):
        return all(flow.flows(within=0.6) for flow in self.decoded.values())

    async def leave(self):
        self.watching.cancel()
        await self.page.context.close()


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
