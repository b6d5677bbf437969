"""What the end-to-end checks share: tokens, a browser, waiting, a camera and a microphone for Python clients."""
import asyncio
import contextlib
import json
import os
import subprocess
import time
import uuid

import numpy as np
from livekit import api, rtc
from playwright.async_api import async_playwright

URL = os.environ["LIVEKIT_URL"]
HTTP = URL.replace("ws", "http", 1)
KEY, SECRET = "devkey", "devsecret-devsecret-devsecret-dev1"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]


def unique(word):
    return f"{word}-{uuid.uuid4().hex[:8]}"


def token(room, identity):
    grants = api.VideoGrants(room_join=True, room=room)
    return api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants).to_jwt()


def skein(*words):
    """Runs a subcommand of the program against the server under test and returns what it prints."""
    env = {**os.environ, "LIVEKIT_URL": URL, "LIVEKIT_KEYS": f"{KEY}: {SECRET}"}
    done = subprocess.run([os.environ["SKEIN"], *words], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"skein {' '.join(words)}: {done.stderr}"
    return done.stdout


def skein_json(*words):
    return json.loads(skein(*words, "--json"))


async def eventually(probe, what, within=20.0):
    """Waits until `probe()` is true and returns its value; says what was expected when it is not."""
    deadline = time.monotonic() + within
    while True:
        value = probe()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"expected {what} within {within:g} s"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def browser():
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        try:
            yield chromium
        finally:
            await chromium.close()


async def colour(source, rgba, stop):
    """Feeds a camera with one colour and a little grain, 15 frames a second, until told to stop."""
    random = np.random.default_rng(1)
    while not stop.is_set():
        frame = np.empty((360, 640, 4), np.uint8)
        frame[:] = rgba
        frame[..., :3] += random.integers(0, 8, (360, 640, 3), np.uint8)
        source.capture_frame(rtc.VideoFrame(640, 360, rtc.VideoBufferType.RGBA, frame.tobytes()))
        await asyncio.sleep(1 / 15)


async def tone(source, hertz, stop):
    """Feeds a microphone with a sine until told to stop."""
    phase = 0
    while not stop.is_set():
        samples = np.sin(2 * np.pi * hertz * (np.arange(480) + phase) / 48_000) * 8000
        phase += 480
        await source.capture_frame(rtc.AudioFrame(samples.astype(np.int16).tobytes(), 48_000, 1, 480))
