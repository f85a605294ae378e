"""Devices in Python for the test of a mixed fleet: a kind of ws (websockets), mqtt (paho-mqtt, 3.1.1) or ocpp (ocpp, 2.0.1).

    python3 fleet.py KIND URL ID

It does and prints what node/fleet.js does.
"""
import asyncio
import json
import sys

kind, url, device = sys.argv[1:]
METHODS = [("csms", "count"), ("billing", "count"), ("csms", "add"), ("billing", "add")]
waiting = {}  # calls that are not answered yet, by number


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")  # one write per line, because MQTT has a thread of its own
    sys.stdout.flush()


def called(n):
    say(called=n)
    return {"device": device, "n": n}


def ended(number, refused, answer):
    if number not in waiting:
        say(stray=[number, refused, answer])
    elif refused:
        waiting.pop(number).set_exception(RuntimeError(refused))
    else:
        waiting.pop(number).set_result(answer)


def begin(n):
    waiting[n] = asyncio.get_running_loop().create_future()
    return waiting[n]


class Socket:
    methods = METHODS

    async def connect(self):
        import websockets
        self.ws = await websockets.connect(url, subprotocols=["longline.v1.json"])
        self.reading = asyncio.create_task(self.read())

    async def read(self):
        async for text in self.ws:
            p = json.loads(text)
            if p["op"] == "reply":
                ended(p["id"], p.get("error", {}).get("code"), p.get("payload"))
            elif p["op"] == "call":
                await self.send(op="reply", id=p["id"], payload=called(p["payload"]["n"]))

    async def send(self, **packet):
        await self.ws.send(json.dumps(packet))

    async def call(self, n, service, method):
        answer = begin(n)
        await self.send(op="call", id=n, service=service, method=method, payload={"n": n})
        return await answer

    async def leave(self):
        await self.ws.close()
        await self.reading


class MQTT:
    methods = METHODS

    async def connect(self):
        import paho.mqtt.client as mqtt
        host, port = url.split(":")
        self.loop, granted = asyncio.get_running_loop(), asyncio.Event()
        self.client = mqtt.Client(client_id=device, protocol=mqtt.MQTTv311)
        self.client.on_subscribe = lambda *_: self.loop.call_soon_threadsafe(granted.set)
        self.client.on_message = self.message
        self.client.connect(host, int(port))
        self.client.loop_start()
        self.client.subscribe([(f"device/{device}/service-reply/#", 0), (f"device/{device}/call/#", 0)])
        await granted.wait()

    def message(self, client, userdata, m):
        """Runs in the client's thread."""
        _, _, what, *rest = m.topic.split("/")
        if what == "call":
            client.publish(f"device/{device}/reply/{rest[1]}", json.dumps(called(json.loads(m.payload)["n"])), qos=1)
            return
        refused = m.payload.decode().split(":")[0] if len(rest) > 1 else None
        self.loop.call_soon_threadsafe(ended, int(rest[0]), refused, None if refused else json.loads(m.payload))

    async def call(self, n, service, method):
        answer = begin(n)
        self.client.publish(f"device/{device}/service/{service}/{method}/{n}", json.dumps({"n": n}), qos=2)
        return await answer

    async def leave(self):
        self.client.disconnect()
        self.client.loop_stop()


class Charger:
    methods = [("csms", "DataTransfer")]

    async def connect(self):
        import websockets
        from ocpp import v201
        from ocpp.routing import on

        class ChargePoint(v201.ChargePoint):
            @on("DataTransfer")
            async def on_data(self, data, **_):
                return v201.call_result.DataTransfer(status="Accepted", data=json.dumps(called(int(data))))

        self.make = v201.call.DataTransfer
        self.ws = await websockets.connect(f"{url}/{device}", subprotocols=["ocpp2.0.1"])
        self.charger = ChargePoint(device, self.ws)
        self.reading = asyncio.create_task(self.charger.start())

    async def call(self, n, service, method):
        answer = await self.charger.call(self.make(vendor_id="fleet", data=str(n)), suppress=False)
        return json.loads(answer.data)

    async def leave(self):
        self.reading.cancel()
        await self.ws.close()


async def main():
    it = {"ws": Socket, "mqtt": MQTT, "ocpp": Charger}[kind]()
    await it.connect()
    leaving = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    n = 0
    while not leaving.done():
        n += 1
        service, method = it.methods[n % len(it.methods)]
        try:
            say(n=n, service=service, method=method, answer=await it.call(n, service, method))
        except Exception as e:
            say(n=n, service=service, method=method, error=str(e))
        await asyncio.sleep(0.02)
    await it.leave()


asyncio.run(main())
