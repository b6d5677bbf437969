"""A person's first minute: the link `skein room link` prints lets two tabs, and a Python client, meet."""
import asyncio

import numpy as np
from livekit import rtc

from kit import browser, colour, eventually, skein, token, tone, unique, URL

MOVING = """async () => {
  const frames = (v) => v.getVideoPlaybackQuality().totalVideoFrames;
  const videos = [...document.querySelectorAll('.lk-participant-tile video')];
  const before = videos.map(frames);
  await new Promise((done) => setTimeout(done, 700));
  return videos.filter((v, i) => frames(v) > before[i] + 3 && v.videoWidth > 0).length;
}"""

# Keeps the page's connections, to ask them for statistics.
KEEP_CONNECTIONS = """(() => {
  window.connections = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) { super(...given); window.connections.push(this); }
  };
})()"""

PROTOCOLS = """async () => {
  const protocols = [];
  for (const connection of window.connections) {
    const rows = [...(await connection.getStats()).values()];
    const transport = rows.find((row) => row.type === 'transport' && row.selectedCandidatePairId);
    const pair = transport && rows.find((row) => row.id === transport.selectedCandidatePairId);
    if (pair) protocols.push(rows.find((row) => row.id === pair.remoteCandidateId).protocol);
  }
  return protocols;
}"""


async def visit(chromium, link, name):
    page = await (await chromium.new_context()).new_page()
    await page.add_init_script(KEEP_CONNECTIONS)
    await page.goto(link)
    await page.fill("input[name=username]", name)
    await page.click("button.lk-join-button")
    return page


async def test_two_tabs_with_the_same_link_see_each_other():
    link = skein("room", "link", unique("lobby")).strip()
    async with browser() as chromium:
        pages = [await visit(chromium, link, name) for name in ("Ann", "Ben")]
        for page in pages:
            async def both_move(page=page):
                return await page.evaluate(MOVING) >= 2
            await eventually(both_move, "two moving pictures in each tab")
            protocols = await page.evaluate(PROTOCOLS)
            assert protocols and set(protocols) == {"udp"}, "TCP is for those who have no UDP"
        assert await pages[0].get_by_text("Ben").count(), "names are shown"


async def test_a_browser_and_a_python_client_see_and_hear_each_other():
    name = unique("mixed")
    link = skein("room", "link", name).strip()
    room, stop = rtc.Room(), asyncio.Event()
    heard = asyncio.get_running_loop().create_future()

    @room.on("track_subscribed")
    def listen(track, *_):
        async def pump():
            async for event in rtc.AudioStream(track):
                samples = np.frombuffer(event.frame.data, np.int16)
                if np.abs(samples).max() > 500 and not heard.done():
                    heard.set_result(True)
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            asyncio.ensure_future(pump())

    await room.connect(URL, token(name, "python"))
    camera, microphone = rtc.VideoSource(640, 360), rtc.AudioSource(48_000, 1)
    await room.local_participant.publish_track(
        rtc.LocalVideoTrack.create_video_track("cam", camera),
        rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA))
    await room.local_participant.publish_track(
        rtc.LocalAudioTrack.create_audio_track("mic", microphone),
        rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
    feeds = [asyncio.ensure_future(colour(camera, (200, 40, 40, 255), stop)),
             asyncio.ensure_future(tone(microphone, 440, stop))]
    try:
        async with browser() as chromium:
            page = await visit(chromium, link, "Ann")

            async def both_move():
                return await page.evaluate(MOVING) >= 2
            await eventually(both_move, "Ann to see herself and the Python client")
            await asyncio.wait_for(heard, 20)
    finally:
        stop.set()
        await asyncio.gather(*feeds)
        await room.disconnect()
