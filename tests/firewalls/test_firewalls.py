"""People behind firewalls meet: a browser and a Python client, both on the locked-in side, see and hear each other, and
their media takes the one path that is open."""
import asyncio
import contextlib
import json
import os
import subprocess

import numpy as np
import pytest
from livekit import rtc

from firewall import PATHS, WATCH, firewall, paths_of
from kit import FLAGS, HTTP, KEY, SECRET, URL, browser, colour, eventually, skein, token, tone, unique
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


# Where TCP and TURN/TLS are both open, libwebrtc's race decides: it begins with relays 50 ms before it begins with TCP, and
# gathers nothing more once a path works.
@pytest.mark.parametrize("opening, relay, possible", [
    ("no UDP at all", False, {"tcp", "relay/tls"}),
    ("only the signal and TCP", False, {"tcp"}),
    ("only the signal and TURN/UDP", False, {"relay/udp"}),
    ("only the signal and TURN/UDP", True, {"relay/udp"}),
])
async def test_a_browser_and_a_python_client_meet(opening, relay, possible):
    name = unique("locked-in")
    link = skein("room", "link", name).strip()
    with firewall(opening):
        async with python_client(name, relay) as (room, heard), browser() as chromium:
            page = await visit(chromium, link, "Ann", relay)
            await see_each_other([page], 2)
            await asyncio.wait_for(heard, 20)
            for taken in (await paths(page), set(await paths_of(room))):
                assert taken and taken <= possible, taken


@pytest.mark.parametrize("relay", [False, True])
async def test_two_browsers_meet_through_port_443_alone(relay):
    link = skein("room", "link", unique("port-443")).strip()
    with firewall("only the signal and 443"):
        async with browser() as chromium:
            pages = [await visit(chromium, link, name, relay) for name in ("Ann", "Ben")]
            await see_each_other(pages, 2)
            for page in pages:
                assert await paths(page) == {"relay/tls"}


@pytest.mark.parametrize("opening, open_ways", [
    ("no UDP at all", {"TCP", "TURN/TLS"}),
    ("only the signal and 443", {"TURN/TLS"}),
    ("only the signal and TURN/UDP", {"TURN/UDP"}),
])
async def test_the_doctor_says_what_is_open_and_what_to_open(opening, open_ways):
    env = {**os.environ, "SSL_CERT_FILE": os.environ["TURN_CA"], "LIVEKIT_KEYS": f"{KEY}: {SECRET}"}
    with firewall(opening):
        words = [os.environ["SKEIN"], "doctor", URL, "--json"]
        done = await asyncio.to_thread(subprocess.run, words, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    states = {check["name"]: check["state"] for check in report["checks"]}
    ways = {"UDP", "TCP", "TURN/UDP", "TURN/TLS"}
    assert {name for name in ways if states[name] == "ok"} == open_ways, report
    assert all(check["advice"].startswith("open ") for check in report["checks"] if check["state"] == "failed"), report
    assert all(check["round_trip_ms"] < 1000 for check in report["checks"] if check["name"] in open_ways)


async def test_with_nothing_in_between_the_doctor_finds_everything_open():
    env = {**os.environ, "SSL_CERT_FILE": os.environ["TURN_CA"], "LIVEKIT_KEYS": f"{KEY}: {SECRET}"}
    words = [os.environ["SKEIN"], "doctor", URL, "--json"]
    done = await asyncio.to_thread(subprocess.run, words, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert {check["state"] for check in json.loads(done.stdout)["checks"]} == {"ok"}
    distrusting = {name: value for name, value in env.items() if name != "SSL_CERT_FILE"}
    done = await asyncio.to_thread(subprocess.run, words, env=distrusting, capture_output=True, text=True, timeout=60)
    failed = [check for check in json.loads(done.stdout)["checks"] if check["state"] == "failed"]
    assert [check["name"] for check in failed] == ["TURN/TLS"] and "certificate" in failed[0]["advice"], failed


async def test_the_connection_test_shows_people_what_is_blocked():
    link = skein("room", "link", unique("test")).strip().replace("/room/#", "/room/check#")
    with firewall("no UDP at all"):
        async with browser() as chromium:
            page = await (await chromium.new_context()).new_page()
            await page.goto(link)
            await page.wait_for_selector(".verdict[data-done=true]", timeout=60_000)
            rows = await page.eval_on_selector_all(
                ".check li", "rows => rows.map((row) => [row.dataset.name, row.dataset.state, row.innerText])")
    states = {name: state for name, state, _ in rows}
    assert states == {
        "Signal": "ok", "UDP": "failed", "TCP": "ok", "TURN over UDP": "failed", "TURN over TLS": "ok",
    }, rows
    assert "let UDP to" in rows[1][2] and "% lost" in rows[2][2] and "% lost" in rows[4][2]
