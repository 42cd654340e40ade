"""Job: stands between a client and the server and keeps what goes through, so that the tests see what was agreed and what was
compressed, whatever the client says. Can take the offer of compression out of a request, for clients that always make it.
Knows TCP, the head of an HTTP message and frame headers. Must never know what a message means."""

import socket
import threading
from dataclasses import dataclass

PATIENCE_S = 120


@dataclass(frozen=True)
class Frame:
    """A frame as it was on the wire, unmasked."""

    opcode: int
    is_final: bool
    is_compressed: bool
    payload: bytes


class Way:
    """One direction of a connection: an HTTP head, then frames."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    @property
    def head(self) -> bytes:
        return bytes(self.bytes).partition(b"\r\n\r\n")[0]

    def header(self, name: str) -> str | None:
        """The value of a header of the HTTP head."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower() == name.lower():
                return value.strip()
        return None

    def frames(self) -> list[Frame]:
        """The whole frames so far."""
        data = bytes(self.bytes)
        at = data.find(b"\r\n\r\n") + 4
        frames = []
        while at + 2 <= len(data):
            first, second = data[at], data[at + 1]
            at += 2
            length = second & 127
            if length >= 126:
                width = 2 if length == 126 else 8
                length = int.from_bytes(data[at : at + width], "big")
                at += width
            mask = b""
            if second & 128:
                mask = data[at : at + 4]
                at += 4
            if at + length > len(data):
                break
            body = data[at : at + length]
            at += length
            if mask:
                key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
                body = (int.from_bytes(body, "big") ^ key).to_bytes(length, "big")
            frames.append(Frame(first & 15, bool(first & 128), bool(first & 64), body))
        return frames


class Relay:
    """Listens for one client; what it sends goes to `upstream`."""

    def __init__(self, upstream: tuple[str, int], offer: bool) -> None:
        """`offer`: the client's offer of extensions is let through."""
        self.to_server = Way()
        self.to_client = Way()
        self._offer = offer
        self._upstream = upstream
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in [self._listener, *self._sockets]:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        server = socket.create_connection(self._upstream)
        self._sockets += [client, server]
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._pump, args=(server, client, self.to_client), daemon=True).start()
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            if not self._offer:
                lines = head.split(b"\r\n")
                head = b"\r\n".join(line for line in lines if not line.lower().startswith(b"sec-websocket-extensions:"))
            self.to_server.bytes += head
            server.sendall(head)
        except OSError:
            return
        self._pump(client, server, self.to_server)

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, way: Way) -> None:
        try:
            while piece := source.recv(1 << 18):
                way.bytes += piece
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
