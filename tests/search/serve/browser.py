"""Chromium without a window, driven by the DevTools protocol over a pipe: no package needed."""

import base64
import fcntl
import json
import os
import shutil
import signal
import time
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

PATIENCE_S = 120

NAVIGATED = "Inspected target navigated or closed"
"""What Chromium answers whoever asks a page that another one has just taken the place of."""


class NavigatedError(Exception):
    """The page that was asked is gone."""


KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Enter": 13}


class Browser:
    """One page.

    Attributes:
        faults: what the page's console complained of (exceptions, refusals of the security policy).
        asked: addresses that the page asked for.
    """

    def __init__(self, folder, width=1440, height=1000, dark=False):
        self.folder, self.faults, self.asked = Path(folder), [], []
        inwards, outwards = os.pipe(), os.pipe()
        # 3 and 4 are where Chromium looks; ours must not be these
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (inwards[0], outwards[1])]
        arguments = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
            f"--user-data-dir={self.folder / 'profile'}", "about:blank",
        ]  # fmt: skip
        null = os.open(os.devnull, os.O_WRONLY)
        self._process = os.posix_spawn(
            CHROMIUM, arguments, os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs[0], 3), (os.POSIX_SPAWN_DUP2, theirs[1], 4),
                (os.POSIX_SPAWN_DUP2, null, 2), (os.POSIX_SPAWN_DUP2, null, 1),
            ],
            setsid=True,
        )  # fmt: skip
        for end in (*theirs, inwards[0], outwards[1], null):
            os.close(end)
        self._to, self._from = inwards[1], outwards[0]
        self._rest, self._number, self._session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def close(self):
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._to)
        os.close(self._from)

    def call(self, method, **params):
        """What a command of the protocol answers."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        sent = json.dumps(message).encode() + b"\0"
        while sent:
            sent = sent[os.write(self._to, sent) :]
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if answer.get("error", {}).get("message") == NAVIGATED:
                    raise NavigatedError
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _next(self):
        while b"\0" not in self._rest:
            read = os.read(self._from, 2**20)
            assert read, "Chromium has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.faults.append(
                details.get("exception", details).get("description", details["text"])
            )
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def js(self, expression):
        """The value of an expression, of a promise when it is kept."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def _now(self, expression):
        """The value of an expression; None where the page went away meanwhile."""
        try:
            return self.js(expression)
        except NavigatedError:
            return None

    def wait(self, expression):
        """Wait until an expression is true; its value."""
        end = time.monotonic() + PATIENCE_S
        while not (value := self._now(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)
        return value

    def files(self, selector, paths):
        """Choose files in a field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def press(self, key):
        """Press a key where the focus is."""
        known = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **known, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def click(self, selector):
        """Click in the middle of an element, once it stands still: images that load move it.

        Fails where something else took the click.
        """
        x, y = self.js(
            "(async () => { for (let last, end = Date.now() + "
            f"{1000 * PATIENCE_S}; Date.now() < end;"
            " await new Promise(done => setTimeout(done, 50))) {"
            f" const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " const now = [b.x + b.width / 2, b.y + b.height / 2];"
            " if (`${now}` === `${last}`) return now; last = now }"
            f" throw Error({json.dumps(f'{selector} never stands still')}) }})()"
        )
        self.js(
            "window.clicked = 'nothing'; document.addEventListener('click', (event) => {"
            f" const took = event.target.closest({json.dumps(selector)});"
            " window.clicked = took ? 'it' : event.target.outerHTML }, {capture: true, once: true})"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        took = self._now("window.clicked")
        assert took in ("it", None), f"{took} took the click on {selector}"  # None: of a new page

    def screenshot(self, path):
        taken = self.call("Page.captureScreenshot", format="png")
        Path(path).write_bytes(base64.b64decode(taken["data"]))
