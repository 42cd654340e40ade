"""foxglove-sdk: its WebSocket server inside this process, a channel per topic, the publisher on Python's own thread."""

import foxglove
import publisher


def main() -> None:
    server = foxglove.start_server(host="127.0.0.1", port=0)
    schema = foxglove.Schema(name="raw", encoding="", data=b"")
    channels = {"t0": foxglove.Channel("t0", message_encoding="raw", schema=schema)}
    print(f"listening on ws://127.0.0.1:{server.port} publisher-thread", flush=True)

    def publish(topic: str | None, payload: bytes | None) -> None:
        if topic is not None and payload is not None:
            channels[topic].log(payload)

    publisher.run(publish)


main()
