"""A device in Python that calls a service, with nothing but the websockets package.

    python3 call.py ws://127.0.0.1:8080/connect/pump-1
"""
import asyncio
import json
import sys

import websockets


class Device:
    def __init__(self, ws):
        self.ws = ws
        self.waiting = {}  # calls that are not answered yet, by id
        self.last = 0

    async def call(self, service, method, payload):
        """Returns the payload of the reply. Raises the refusal, or what ended the connection before the
        reply: then the service may have done it, or not."""
        self.last += 1
        answer = self.waiting[self.last] = asyncio.get_running_loop().create_future()
        await self.ws.send(json.dumps({"op": "call", "id": self.last, "service": service, "method": method, "payload": payload}))
        return await answer

    async def read(self):
        try:
            async for text in self.ws:
                packet = json.loads(text)
                if packet["op"] != "reply" or packet["id"] not in self.waiting:
                    continue
                answer, error = self.waiting.pop(packet["id"]), packet.get("error")
                if error:
                    answer.set_exception(RuntimeError(f"{error['code']}: {error['reason']}"))
                else:
                    answer.set_result(packet.get("payload"))
        finally:
            for answer in self.waiting.values():
                answer.set_exception(ConnectionError("the answer is not known"))


async def main(url):
    async with websockets.connect(url, subprotocols=["longline.v1.json"]) as ws:
        device = Device(ws)
        reading = asyncio.create_task(device.read())
        print(json.dumps(await device.call("billing", "authorize", {"card": "4f2a"})))
        try:
            await device.call("billing", "authorize", {"card": "0000"})
        except RuntimeError as refused:
            print(refused)
        await ws.close()
        await reading


asyncio.run(main(sys.argv[1]))
