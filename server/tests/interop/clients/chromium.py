"""Headless Chromium: a page opens the socket and hands over what it gets. `chromium.py PATH` names the browser."""

import asyncio
import base64
import os
import sys

from conversation import converse, say
from playwright.async_api import Page, async_playwright

# As root there is no sandbox, and a browser that calls home has nobody to call in a test.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

SCRIPT = """
let socket
let count = 0
const report = (event, data) => hear(count++, event, data ?? '')
const toBase64 = (bytes) => {
  let binary = ''
  for (let at = 0; at < bytes.length; at += 32768) binary += String.fromCharCode(...bytes.subarray(at, at + 32768))
  return btoa(binary)
}
const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
function open_socket({ url, protocol, offers }) {
  const mine = (socket = new WebSocket(url, [protocol, ...(offers ?? [])].filter(Boolean)))
  mine.binaryType = 'arraybuffer'
  mine.onopen = () => report({ event: 'open', protocol: mine.protocol, extensions: mine.extensions })
  mine.onmessage = ({ data }) => {
    if (typeof data === 'string') report({ event: 'message', kind: 'text' }, toBase64(new TextEncoder().encode(data)))
    else report({ event: 'message', kind: 'binary' }, toBase64(new Uint8Array(data)))
  }
  mine.onclose = ({ code }) => report({ event: 'closed', code })
}
function send([kind, data]) {
  const bytes = fromBase64(data)
  socket.send(kind === 'text' ? new TextDecoder().decode(bytes) : bytes)
}
"""


# The one certificate of the tests' own authority that is taken for good.
if spki := os.environ.get("INTEROP_SPKI"):
    ARGUMENTS.append(f"--ignore-certificate-errors-spki-list={spki}")


class Connection:
    def __init__(self, page: Page) -> None:
        self._page = page

    async def send(self, kind: str, body: bytes) -> None:
        await self._page.evaluate("arguments => send(arguments)", [kind, base64.b64encode(body).decode()])

    async def close(self) -> None:
        await self._page.evaluate("() => socket.close(1000)")


async def main() -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=sys.argv[1], args=ARGUMENTS)
        page = await browser.new_page()
        heard = 0

        def hear(number: int, event: dict, data: str) -> None:
            nonlocal heard
            assert number == heard, "what the page says comes in order"
            heard += 1
            say(event, base64.b64decode(data))

        await page.expose_function("hear", hear)
        await page.add_script_tag(content=SCRIPT)

        async def connect(command: dict) -> Connection:
            await page.evaluate("command => open_socket(command)", command)
            return Connection(page)

        await converse(connect)
        await browser.close()


asyncio.run(main())
