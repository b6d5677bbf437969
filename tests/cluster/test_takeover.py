"""A killed home that nobody notices: its standby goes on with the clients' transports, and no client is told anything."""
import asyncio
import json
import os
import re
import time

import pytest
from livekit import api, rtc
from nodes import KEY, SECRET, Cluster
from playwright.async_api import async_playwright
from test_rooms import eventually, join, silence

pytestmark = pytest.mark.asyncio


def protected(node, room):
    """How each participant would come through the loss of its node."""
    inspected = json.loads(node.skein("room", "inspect", room, "--json"))
    return {one["identity"]: one["protected"] for one in inspected["participants"]}


def moves(node, room):
    """How the room went from node to node."""
    return json.loads(node.skein("room", "inspect", room, "--json"))["moves"]


async def told_of_move(cluster, asked, room, cause):
    """The one move of the room, whole and plausible, as `asked` tells it; its new home logged it once."""
    async def known():
        return [move for move in moves(asked, room) if move["took_ms"] is not None]
    [move] = await eventually(known, "a move of the room and how long it took")
    home = cluster.home_of(room, asked)
    assert (move["to"], move["cause"]) == (home.name, cause), move
    assert 0 <= move["took_ms"] <= 5_000 and abs(move["at"] / 1000 - time.time()) < 60, move

    def logged():
        return [line for line in home.log().splitlines() if "a room moved" in line and f'room="{room}"' in line]
    lines = await eventually(logged, "a line of the log")
    assert len(lines) == 1, lines
    assert move["from"] in asked.skein("room", "inspect", room)
    return move["from"], lines[0]


def places(cluster, room):
    """The room's home, and the node that is neither that nor its standby."""
    asked = cluster.nodes[0]
    home = cluster.home_of(room, asked)
    explained = json.loads(asked.skein("room", "explain", room, "--json"))
    known = json.loads(asked.skein("cluster", "status", "--json"))["nodes"]
    standby = next(n["host"] for n in known if f"n{n['id']}" == explained["standby"])
    return home, next(node for node in cluster.nodes if node is not home and node.name != standby)


async def sids(lk, room):
    listed = await lk.room.list_participants(api.ListParticipantsRequest(room=room))
    return {one.identity: one.sid for one in listed.participants}


async def test_a_killed_home_is_not_noticed_by_clients_of_another_node():
    with Cluster() as cluster:
        nodes = cluster.nodes
        async with api.LiveKitAPI(nodes[0].http, KEY, SECRET) as lk:
            await lk.room.create_room(api.CreateRoomRequest(name="daily"))
        home, gateway = places(cluster, "daily")
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
            former, line = await told_of_move(cluster, gateway, "daily", "death")
            assert former == home.name
            assert "unnoticed=2" in line and "resumed=0" in line, line
        stop.set()
        await feeder
        for task in listening:
            task.cancel()
        await asyncio.gather(alice.disconnect(), bob.disconnect())


async def test_the_room_page_says_that_its_room_moved():
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--use-fake-device-for-media-stream",
             "--use-fake-ui-for-media-stream"]
    with Cluster() as cluster:
        async with api.LiveKitAPI(cluster.nodes[0].http, KEY, SECRET) as lk:
            await lk.room.create_room(api.CreateRoomRequest(name="daily"))
        home, gateway = places(cluster, "daily")
        async with async_playwright() as playwright:
            chromium = await playwright.chromium.launch(
                executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), headless=True, args=flags)
            page = await chromium.new_page()
            await page.goto(gateway.skein("room", "link", "daily").strip())
            await page.fill("input[name=username]", "Ann")
            async with page.expect_response(re.compile("/skein/rooms/daily/moves$")):
                await page.click("button.lk-join-button")
            await eventually(lambda: list(protected(gateway, "daily").values()) == ["warm"], "Ann to be protected")
            notice = page.locator(".moved")
            assert not await notice.count()
            home.kill()

            async def told():
                return [text for text in await notice.all_text_contents() if "ms" in text]
            [text] = await eventually(told, "the page to tell of the move")
            now = cluster.home_of("daily", gateway).name
            assert re.fullmatch(rf"The meeting moved from node {home.name} to node {now} in \d+ ms", text), text
            former, line = await told_of_move(cluster, gateway, "daily", "death")
            assert former == home.name and "unnoticed=1" in line, line
            await chromium.close()
