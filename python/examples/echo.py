"""Echoes every message: what a program that talks to single clients looks like.

    python echo.py --listen 127.0.0.1:9002 [--driver auto|uring|epoll]
    websocat ws://127.0.0.1:9002/

Text comes as `str` and is answered as text, anything else as `bytes` and is answered as binary.
"""

import argparse
import time

import fanwire

PAUSE = 0.0002
"""Seconds to leave a client alone whose queue is full."""


def answer(engine: fanwire.Engine, message: fanwire.Message) -> None:
    while True:
        try:
            engine.send_to(message.connection, message.data)
            return
        except fanwire.WouldBlock:
            time.sleep(PAUSE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Echoes every WebSocket message.")
    parser.add_argument("--listen", default="127.0.0.1:9002", metavar="ADDRESS:PORT")
    parser.add_argument("--driver", default="auto", choices=["auto", "uring", "epoll"])
    arguments = parser.parse_args()
    with fanwire.Engine(listen=arguments.listen, driver=arguments.driver, messages=True) as engine:
        print(f"listening on {engine.url}", flush=True)
        try:
            for event in engine.events:
                if isinstance(event, fanwire.Message):
                    answer(engine, event)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
