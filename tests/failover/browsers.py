"""People in the room page, in real browsers: Chromium, and Firefox over WebDriver BiDi."""
import asyncio
import json
import os
import shutil
import signal
import tempfile
import time

import aiohttp
from playwright.async_api import async_playwright

from flows import Flow

# Notes when anything of others was decoded, whatever connection brought it: sound that is not made up, pictures. What a
# receiver played or showed last has the timestamp of the packet it came in; to look costs next to nothing, so it is looked
# 50 times a second. Pictures are decoded but not painted: without a GPU that costs more than everything else. A page that
# got no processor decodes nothing either, whatever was sent to it: how long it stood still is told.
LOOK = """(() => {
  window.take = () => {
    const all = window.decoded;
    window.decoded = {audio: [], video: [], socket: [], still: []};
    return JSON.stringify(all);
  };
  window.take();
  window.WebSocket = class extends window.WebSocket {
    constructor(...given) { super(...given); window.decoded.socket.push(Date.now()); }
  };
  // A small picture: all encoders and decoders share a machine with the cluster.
  const capture = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = (asked) => capture(
    asked.video ? {...asked, video: {width: 320, height: 180, frameRate: 15}} : asked);
  const connections = [], last = new WeakMap(), STILL_MS = 300;
  let looked = Date.now();
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) { super(...given); connections.push(this); }
  };
  document.addEventListener('DOMContentLoaded', () => {
    const style = document.createElement('style');
    style.textContent = 'video { opacity: 0 }';
    document.head.append(style);
  });
  setInterval(() => {
    const now = Date.now();
    if (now - looked > STILL_MS) window.decoded.still.push([now, now - looked]);
    looked = now;
    for (const connection of connections.filter((c) => c.connectionState === 'connected')) {
      for (const receiver of connection.getReceivers()) {
        const [source] = receiver.getSynchronizationSources();
        if (!source || last.get(receiver) === source.rtpTimestamp) continue;
        last.set(receiver, source.rtpTimestamp);
        window.decoded[receiver.track.kind].push(now);
      }
    }
  }, 20);
})()"""

TAKE = "() => window.take()"
# Frameworks listen to events, not to values.
JOIN = """(name) => {
  const field = document.querySelector('input[name=username]'), button = document.querySelector('button.lk-join-button');
  if (!field || !button) return false;
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, name);
  field.dispatchEvent(new Event('input', {bubbles: true}));
  if (button.disabled) return false;
  button.click();
  return true;
}"""


class Browser:
    """A person in the room page: sends its pretended camera, decodes whatever the others send."""

    #: Seconds until what was decoded last is old: it is told of now and then.
    fresh_s = 0.6

    def __init__(self, identity, driver, link):
        """`driver`: opens pages, as `Chromium` and `Firefox` do."""
        self.identity, self.driver, self.link, self.events = identity, driver, link, []
        # The page adds letters to the name.
        self.known_as = identity
        self.decoded = {"audio": Flow(), "video": Flow()}
        self.page = self.watching = None
        self.left = False

    async def join(self, _url, _room, single_pc=False):
        link = self.link if single_pc else self.link.replace("/room/", "/room/?singlePC=false")
        self.page = await self.driver.open(link, LOOK)
        deadline = time.monotonic() + 30
        while not await self.page.call(JOIN, self.identity):
            if time.monotonic() > deadline:
                raise TimeoutError("expected a page to join with within 30 s")
            await asyncio.sleep(0.1)
        self.watching = asyncio.ensure_future(self.watch())

    async def watch(self):
        while not self.left:
            decoded = json.loads(await self.page.call(TAKE))
            ahead = time.monotonic() - time.time()
            for kind, flow in self.decoded.items():
                flow.at += [at / 1_000 + ahead for at in decoded[kind]]
            self.events += [(at / 1_000 + ahead, "socket") for at in decoded["socket"]]
            self.events += [(at / 1_000 + ahead, f"stood still for {ms} ms") for at, ms in decoded["still"]]
            await asyncio.sleep(0.1)

    def flow(self, _other, kind):
        return self.decoded[kind]

    async def leave(self):
        # Not cancelled: `wait_for` of Python 3.11 swallows that where the answer comes at the same time.
        self.left = True
        await asyncio.gather(self.watching, return_exceptions=True)
        await self.page.close()


class Chromium:
    kind = "Chromium"
    FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
             "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             "--autoplay-policy=no-user-gesture-required"]

    async def start(self):
        self.playwright = await async_playwright().start()
        self.browser = await self.playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), headless=True, args=self.FLAGS)

    async def open(self, link, script):
        page = await (await self.browser.new_context(viewport={"width": 480, "height": 360})).new_page()
        await page.add_init_script(script)
        await page.goto(link)
        return ChromiumPage(page)


class ChromiumPage:
    def __init__(self, page):
        self.page = page

    async def call(self, function, *arguments):
        return await self.page.evaluate(function, *arguments)

    async def close(self):
        await self.page.context.close()


class Firefox:
    """One process with a profile of its own; WebDriver BiDi (W3C) is JSON over a WebSocket."""

    kind = "Firefox"

    PREFERENCES = {
        "media.navigator.streams.fake": True, "media.navigator.permission.disabled": True,
        "media.peerconnection.ice.loopback": True, "media.autoplay.default": 0, "app.update.enabled": False,
        "media.getusermedia.insecure.enabled": True, "media.devices.insecure.enabled": True,
        "datareporting.policy.dataSubmissionEnabled": False, "network.captive-portal-service.enabled": False,
        "network.connectivity-service.enabled": False, "remote.active-protocols": 1,
    }

    @staticmethod
    def program():
        return os.environ.get("FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")

    async def start(self, within=60):
        self.profile = tempfile.mkdtemp(prefix="skein-firefox-")
        with open(f"{self.profile}/user.js", "w") as preferences:
            for name, value in self.PREFERENCES.items():
                preferences.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")
        self.process = await asyncio.create_subprocess_exec(
            self.program(), "--headless", "--no-remote", "--width", "480", "--height", "360", "--profile", self.profile, "--remote-debugging-port=0",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            start_new_session=True)
        self.answers, self.turn = {}, 0
        self.http = aiohttp.ClientSession()
        self.socket = await self.http.ws_connect(await asyncio.wait_for(self.address(), within) + "/session", max_msg_size=0)
        self.reading = asyncio.ensure_future(self.read())
        await self.ask("session.new", {"capabilities": {}})

    async def address(self):
        """It says where it listens."""
        while line := await self.process.stderr.readline():
            if b"WebDriver BiDi listening on " in line:
                self.draining = asyncio.ensure_future(self.drain())
                return line.decode().split("listening on ")[1].strip()
        raise RuntimeError("Firefox ended before it listened")

    async def drain(self):
        while await self.process.stderr.readline():
            pass

    async def read(self):
        async for message in self.socket:
            told = json.loads(message.data)
            answer = self.answers.pop(told.get("id"), None)
            # Who asked may have left.
            if answer and not answer.done():
                answer.set_result(told)

    async def ask(self, method, parameters, within=30):
        self.turn += 1
        answer = self.answers[self.turn] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": self.turn, "method": method, "params": parameters})
        told = await asyncio.wait_for(answer, within)
        if told["type"] != "success":
            raise RuntimeError(f"{method}: {told.get('message')}")
        return told["result"]

    async def open(self, link, script):
        tab = (await self.ask("browsingContext.create", {"type": "tab"}))["context"]
        await self.ask("script.addPreloadScript", {"functionDeclaration": f"() => {{ {script} }}", "contexts": [tab]})
        await self.ask("browsingContext.navigate", {"context": tab, "url": link, "wait": "complete"})
        return FirefoxPage(self, tab)

    def stop(self):
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        shutil.rmtree(self.profile, ignore_errors=True)


class FirefoxPage:
    def __init__(self, firefox, tab):
        self.firefox, self.tab = firefox, tab

    async def call(self, function, *arguments):
        result = await self.firefox.ask("script.callFunction", {
            "functionDeclaration": function, "awaitPromise": True, "target": {"context": self.tab},
            "arguments": [{"type": "string", "value": argument} for argument in arguments]})
        if result["type"] != "success":
            raise RuntimeError(result["exceptionDetails"]["text"])
        return result["result"].get("value")

    async def close(self):
        await self.firefox.ask("browsingContext.close", {"context": self.tab})
