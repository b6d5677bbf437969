"""Measured on what a real SDK decodes: gaps in sound behind a lossy path, and how far sound and picture are apart
while the picture's layer changes. Figures are printed; the bounds are the issue's."""
import asyncio
import contextlib
import os
import subprocess
import time

import numpy as np
from livekit import api, rtc
from livekit.protocol.room import RoomConfiguration

from kit import KEY, SECRET, URL, eventually, unique

RATE, UDP = 48_000, os.environ["SERVER_UDP"]


@contextlib.contextmanager
def loss(percent):
    """Loses that share of what the server sends to the clients, at random."""
    rules = f"""
        table inet lossy {{
            chain coming {{
                type filter hook input priority 0; policy accept;
                iifname "wire" udp sport {UDP} numgen random mod 1000 < {int(percent * 10)} drop
            }}
        }}"""
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "lossy"], check=True)


async def join(room, identity, **config):
    grants = api.VideoGrants(room_join=True, room=room)
    access = api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants)
    if config:
        access = access.with_room_config(RoomConfiguration(**config))
    client, tracks = rtc.Room(), {}
    client.on("track_subscribed", lambda track, publication, _: tracks.update({publication.kind: (track, publication)}))
    await client.connect(URL, access.to_jwt())
    return client, tracks


async def sound_of(track):
    """Concealed and all samples the decoder played so far, and what the path lost."""
    for report in await track.get_stats():
        if report.WhichOneof("stats") == "inbound_rtp":
            inbound = report.inbound_rtp
            played = inbound.inbound
            return played.concealed_samples - played.silent_concealed_samples, played.total_samples_received, \
                inbound.received.packets_lost, inbound.received.packets_received
    raise AssertionError("no figures of the track")


async def gaps(red, percent, seconds):
    """Share of concealed sound, and of lost packets, behind a path that loses."""
    room = unique("loss")
    (alice, _), (bob, tracks) = await join(room, "alice"), await join(room, "bob")
    source = rtc.AudioSource(RATE, 1, queue_size_ms=200)
    stop = asyncio.Event()

    async def speak():
        random, at = np.random.default_rng(7), 0
        while not stop.is_set():
            t = (np.arange(480) + at) / RATE
            at += 480
            voice = np.sin(2 * np.pi * 220 * t) + 0.5 * np.sin(2 * np.pi * 660 * t) + 0.05 * random.standard_normal(480)
            await source.capture_frame(rtc.AudioFrame((voice * 6000).astype(np.int16).tobytes(), RATE, 1, 480))

    speaking = asyncio.create_task(speak())
    try:
        track = rtc.LocalAudioTrack.create_audio_track("voice", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, red=red, dtx=False)
        await alice.local_participant.publish_track(track, options)
        await eventually(lambda: rtc.TrackKind.KIND_AUDIO in tracks, "the voice")
        heard, _ = tracks[rtc.TrackKind.KIND_AUDIO]
        stream = rtc.AudioStream(heard, sample_rate=RATE, num_channels=1)

        async def listen():
            async for _ in stream:
                pass

        listening = asyncio.create_task(listen())
        await asyncio.sleep(5)
        with loss(percent):
            before = await sound_of(heard)
            await asyncio.sleep(seconds)
            after = await sound_of(heard)
        listening.cancel()
        concealed, played, lost, received = (b - a for a, b in zip(before, after))
        return concealed / max(played, 1), lost / max(lost + received, 1)
    finally:
        stop.set()
        await speaking
        await alice.disconnect()
        await bob.disconnect()


async def test_sound_has_no_audible_gap_at_five_percent_loss():
    plain, lost_plain = await gaps(False, 5, 30)
    red, lost_red = await gaps(True, 5, 30)
    print(f"\nconcealed of all sound: without RED {plain:.2%} ({lost_plain:.1%} of packets lost), "
          f"with RED {red:.2%} ({lost_red:.1%} lost)")
    assert lost_red > 0.02, "the path does lose packets"
    assert red < 0.01, "less than 10 ms in a second"


FLASH_S, STEP_S = 1.0, 0.005


async def act(camera, microphone, stop):
    """A flash of 100 ms and a beep at once, every second; grain, so that no layer looks dead."""
    random = np.random.default_rng(3)
    began, sound_at, picture_at = time.monotonic(), 0.0, 0.0
    while not stop.is_set():
        now = time.monotonic() - began
        while sound_at <= now:
            t = sound_at + np.arange(480) / RATE
            beep = np.where(t % FLASH_S < 0.1, np.sin(2 * np.pi * 1000 * t) * 12_000, 0.0)
            await microphone.capture_frame(rtc.AudioFrame(beep.astype(np.int16).tobytes(), RATE, 1, 480))
            sound_at += 0.01
        if picture_at <= now:
            level = 235 if picture_at % FLASH_S < 0.1 else 30
            frame = np.full((540, 960, 4), level, np.uint8)
            frame[::4, ::4, :3] += random.integers(0, 16, (135, 240, 3), np.uint8)
            camera.capture_frame(rtc.VideoFrame(960, 540, rtc.VideoBufferType.RGBA, frame.tobytes()))
            picture_at += 1 / 30
        await asyncio.sleep(STEP_S)


def onsets(events, threshold):
    """Moments the level rises above the threshold after it was below."""
    found, above = [], True
    for at, level in events:
        if level > threshold and not above:
            found.append(at)
        above = level > threshold
    return found


async def test_sound_and_picture_stay_together_over_layer_switches():
    room = unique("sync")
    (alice, _), (bob, tracks) = await join(room, "alice", sync_streams=True), await join(room, "bob")
    camera, microphone = rtc.VideoSource(960, 540), rtc.AudioSource(RATE, 1, queue_size_ms=0)
    stop = asyncio.Event()
    acting = asyncio.create_task(act(camera, microphone, stop))
    seen, heard, sizes = [], [], set()
    watching = []
    try:
        audio = rtc.LocalAudioTrack.create_audio_track("beep", microphone)
        video = rtc.LocalVideoTrack.create_video_track("flash", camera)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=True,
                                          video_encoding=rtc.VideoEncoding(max_framerate=30, max_bitrate=1_700_000))
        await alice.local_participant.publish_track(video, options)
        await alice.local_participant.publish_track(
            audio, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False))
        await eventually(lambda: len(tracks) == 2, "sound and picture")

        async def watch():
            async for event in rtc.VideoStream(tracks[rtc.TrackKind.KIND_VIDEO][0], format=rtc.VideoBufferType.I420):
                luma = np.frombuffer(event.frame.data, np.uint8)[: event.frame.width * event.frame.height]
                sizes.add(event.frame.width)
                seen.append((time.monotonic(), float(luma[:: 97].mean())))

        async def listen():
            stream = rtc.AudioStream(tracks[rtc.TrackKind.KIND_AUDIO][0], sample_rate=RATE, num_channels=1)
            async for event in stream:
                pcm = np.abs(np.frombuffer(event.frame.data, np.int16).astype(float))
                for part, chunk in enumerate(np.array_split(pcm, max(1, len(pcm) // 48))):
                    late = (len(pcm) - (part + 1) * 48) / RATE
                    heard.append((time.monotonic() - late, float(chunk.mean())))

        watching = [asyncio.create_task(watch()), asyncio.create_task(listen())]
        await asyncio.sleep(10)
        publication = tracks[rtc.TrackKind.KIND_VIDEO][1]
        began = time.monotonic()
        for quality in (0, 2, 1, 2, 0, 2):
            publication.set_video_quality(quality)
            await asyncio.sleep(8)
    finally:
        stop.set()
        for task in watching:
            task.cancel()
        await acting
        await alice.disconnect()
        await bob.disconnect()
    flashes, beeps = onsets(seen, 130), onsets(heard, 1_500)
    pairs = [(flash, min(beeps, key=lambda beep: abs(beep - flash)) - flash) for flash in flashes if flash > began]
    apart = np.array([late * 1_000 for _, late in pairs if abs(late) < FLASH_S / 2])
    print(f"\n{len(apart)} flashes at {len(sizes)} sizes {sorted(sizes)}: sound after picture by "
          f"{np.median(apart):.0f} ms in the middle, {np.percentile(apart, 5):.0f} to {np.percentile(apart, 95):.0f} ms for 90 %")
    assert len(apart) > 35 and len(sizes) >= 3
    # A picture comes every 33 ms and is seen when Python gets round to it: on a busy machine some flashes are late.
    assert abs(np.median(apart)) <= 40 and np.percentile(np.abs(apart), 75) <= 40, "sound and picture are apart"
