"""People behind firewalls meet: a browser and a Python client, both on the locked-in side, see and hear each other, and
their media takes the one path that is open."""
import asyncio
import contextlib
import json
import os

import numpy as np
import pytest
from livekit import rtc

from firewall import PATHS, WATCH, firewall, paths_of
from kit import FLAGS, HTTP, URL, browser, colour, eventually, skein, token, tone, unique
from test_room_page import MOVING

FLAGS.append(f"--unsafely-treat-insecure-origin-as-secure={HTTP}")


@contextlib.asynccontextmanager
async def python_client(name, relay):
    """Joins with a camera and a microphone; its second value resolves when it hears somebody."""
    room, stop = rtc.Room(), asyncio.Event()
    heard = asyncio.get_running_loop().create_future()

    @room.on("track_subscribed")
    def listen(track, *_):
        async def pump():
            async for event in rtc.AudioStream(track):
                if np.abs(np.frombuffer(event.frame.data, np.int16)).max() > 500 and not heard.done():
                    heard.set_result(True)
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            asyncio.ensure_future(pump())

    options = rtc.RoomOptions()
    if relay:
        options.rtc_config = rtc.RtcConfiguration(ice_transport_type=rtc.IceTransportType.TRANSPORT_RELAY)
    await asyncio.wait_for(room.connect(URL, token(name, "python"), options), 30)
    camera, microphone = rtc.VideoSource(640, 360), rtc.AudioSource(48_000, 1)
    local = room.local_participant
    await local.publish_track(rtc.LocalVideoTrack.create_video_track("cam", camera),
                              rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA))
    await local.publish_track(rtc.LocalAudioTrack.create_audio_track("mic", microphone),
                              rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
    feeds = [asyncio.ensure_future(colour(camera, (200, 40, 40, 255), stop)),
             asyncio.ensure_future(tone(microphone, 440, stop))]
    try:
        yield room, heard
    finally:
        stop.set()
        await asyncio.gather(*feeds)
        await room.disconnect()


async def visit(chromium, link, name, relay):
    page = await (await chromium.new_context()).new_page()
    await page.add_init_script(f"({WATCH})({json.dumps(relay)})")
    await page.goto(link)
    await page.fill("input[name=username]", name)
    await page.click("button.lk-join-button")
    return page


async def see_each_other(pages, count):
    for page in pages:
        async def move(page=page):
            return await page.evaluate(MOVING) >= count
        await eventually(move, f"{count} moving pictures in each tab", within=40)


async def paths(page):
    return set(await page.evaluate(PATHS))


@pytest.mark.parametrize("opening, relay, path", [
    ("no UDP at all", False, "tcp"),
    ("only the signal and TURN/UDP", False, "relay/udp"),
    ("only the signal and TURN/UDP", True, "relay/udp"),
])
async def test_a_browser_and_a_python_client_meet(opening, relay, path):
    name = unique("locked-in")
    link = skein("room", "link", name).strip()
    with firewall(opening):
        async with python_client(name, relay) as (room, heard), browser() as chromium:
            page = await visit(chromium, link, "Ann", relay)
            await see_each_other([page], 2)
            await asyncio.wait_for(heard, 20)
            assert await paths(page) == {path}
            assert set(await paths_of(room)) == {path}


@pytest.mark.parametrize("relay", [False, True])
async def test_two_browsers_meet_through_port_443_alone(relay):
    link = skein("room", "link", unique("port-443")).strip()
    with firewall("only the signal and 443"):
        async with browser() as chromium:
            pages = [await visit(chromium, link, name, relay) for name in ("Ann", "Ben")]
            await see_each_other(pages, 2)
            for page in pages:
                assert await paths(page) == {"relay/tls"}
