"""A device in Python, with nothing but the websockets package.

    python3 device.py ws://127.0.0.1:8080/connect/pump-1

It publishes two readings, takes commands, answers calls, and prints what the gateway says.
The command {"cut": true} makes it lose its connection before it has acknowledged the
command; it comes back at the next line of its input.
"""
import asyncio
import json
import sys

import websockets


class Device:
    def __init__(self, url):
        self.url = url
        self.id = url.rsplit("/", 1)[1]
        self.seen = set()  # ids of messages: one of QoS 1 may come again
        self.leaving = False

    async def connection(self):
        """Serves one connection until it ends."""
        async with websockets.connect(self.url, subprotocols=["longline.v1.json"]) as self.ws:
            try:
                async for text in self.ws:
                    print(text, flush=True)
                    packet = json.loads(text)
                    await getattr(self, packet["op"])(packet)
            except websockets.ConnectionClosedError:
                pass  # cut

    async def send(self, **packet):
        await self.ws.send(json.dumps(packet))

    async def hello(self, packet):
        if packet["resumed"]:
            return  # the session has its subscriptions
        topic = f"reading/{self.id}"
        await self.send(op="sub", id=1, filters=[f"command/{self.id}/#"], qos=1)
        await self.send(op="pub", topic=topic, payload={"celsius": 20.5})
        await self.send(op="pub", topic=topic, payload={"celsius": 21}, qos=1, id=2)

    async def ack(self, packet):
        if "error" in packet:
            sys.exit(f"refused: {packet}")

    async def msg(self, packet):
        first = packet["id"] not in self.seen
        self.seen.add(packet["id"])
        if first and packet["payload"].get("cut"):
            self.ws.transport.abort()
        else:
            await self.send(op="ack", id=packet["id"])

    async def call(self, packet):
        method = packet["method"]
        if method == "sum":
            await self.send(op="reply", id=packet["id"], payload=sum(packet["payload"]))
        elif method == "leave":
            await self.send(op="reply", id=packet["id"], payload="bye")
            self.leaving = True
            await self.ws.close()
        else:
            error = {"code": "unknown_method", "reason": method}
            await self.send(op="reply", id=packet["id"], error=error)


async def main(url):
    device = Device(url)
    while True:
        await device.connection()
        if device.leaving or not await asyncio.to_thread(sys.stdin.readline):
            return


asyncio.run(main(sys.argv[1]))
