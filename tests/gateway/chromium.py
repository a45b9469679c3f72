"""A headless Chromium driven over its DevTools protocol: just enough of it to look at the page and use it."""

import asyncio
import base64
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--hide-scrollbars",
)  # fmt: skip
KEYS = {
    "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), "Tab": ("Tab", 9, ""), "ArrowDown": ("ArrowDown", 40, ""),
    "ArrowUp": ("ArrowUp", 38, ""), "ArrowRight": ("ArrowRight", 39, ""), "ArrowLeft": ("ArrowLeft", 37, ""),
}  # fmt: skip


def binary() -> str:
    """Returns the browser's path, or fails with how to get it: a page nobody looked at is not tested."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise AssertionError("the page's test needs Chromium, and PATH has none: `apt-get install chromium`")


class Tab:
    """One page. ``errors``: uncaught exceptions and console errors so far."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.errors: list[str] = []
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said and (answer := self._answers.pop(said["id"], None)) and not answer.done():
                answer.set_result(said)
            elif said.get("method") == "Runtime.exceptionThrown":
                details = said["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            elif said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                entry = said["params"]["entry"]
                self.errors.append(f"{entry['text']} {entry.get('url', '')}")

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        said = await asyncio.wait_for(answer, 20)
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def close(self) -> None:
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
        await self._socket.close()

    async def start(self) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")

    async def size(self, width: int, height: int, scale: float = 1) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    async def scheme(self, name: str) -> None:
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    async def goto(self, url: str) -> None:
        await self.send("Page.navigate", url=url)

    async def evaluate(self, script: str) -> Any:
        answer = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float = 10) -> Any:
        """Waits until an expression is true, and returns it."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            with suppress(AssertionError):
                if value := await self.evaluate(script):
                    return value
            await asyncio.sleep(0.05)
        shown = await self.evaluate("document.body?.innerText.slice(0, 1500)")
        raise AssertionError(f"not within {seconds} s: {script}\nerrors: {self.errors}\nthe page shows:\n{shown}")

    async def click(self, selector: str) -> None:
        x, y = await self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def hover(self, selector: str) -> None:
        x, y = await self.middle(selector)
        await self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    async def leave(self) -> None:
        await self.send("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)

    async def middle(self, selector: str) -> tuple[float, float]:
        place = await self.evaluate(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)})?.getBoundingClientRect();"
            " return r && [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        assert place, f"there is no {selector}"
        return place[0], place[1]

    async def key(self, name: str) -> None:
        key, code, text = KEYS[name] if name in KEYS else (name, ord(name.upper()), name)
        parameters: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code}
        down = "keyDown" if text else "rawKeyDown"
        await self.send("Input.dispatchKeyEvent", type=down, **parameters, **({"text": text} if text else {}))
        await self.send("Input.dispatchKeyEvent", type="keyUp", **parameters)

    async def type(self, text: str) -> None:
        await self.send("Input.insertText", text=text)

    async def picture(self, path: Path) -> None:
        shot = await self.send("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))


@asynccontextmanager
async def browser() -> AsyncIterator[Tab]:
    """Starts a browser of its own and gives its page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            binary(), *FLAGS, f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            port = await asyncio.wait_for(_port(process, Path(profile)), 30)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = [each for each in await answer.json() if each["type"] == "page"]
                socket = await session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=64 << 20)
                tab = Tab(socket)
                await tab.start()
                try:
                    yield tab
                finally:
                    await tab.close()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 5)
                except TimeoutError:
                    process.kill()
                    await process.wait()


async def _port(process: asyncio.subprocess.Process, profile: Path) -> int:
    """Waits for the DevTools port; drains what the browser says, so that it never blocks on it."""
    assert process.stderr is not None
    while line := await process.stderr.readline():
        if b"DevTools listening on" in line:
            _draining.add(task := asyncio.create_task(process.stderr.read()))
            task.add_done_callback(_draining.discard)
            return int(line.split(b":")[-1].split(b"/")[0])
    raise AssertionError(f"Chromium ended before it listened, profile {profile}")


_draining: set["asyncio.Task[bytes]"] = set()
