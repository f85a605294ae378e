"""A charger in Python, with the package ocpp, which checks what it sends and gets by the schemas of OCPP.

    python charger.py ws://127.0.0.1:8080/ocpp IDENTITY ocpp1.6

It boots, authorizes a card, charges from a remote start to a remote stop, and leaves.
"""
import asyncio
import datetime
import sys
from urllib.parse import quote

import websockets
from ocpp import v16, v201
from ocpp.exceptions import NotImplementedError as NotImplementedByService
from ocpp.routing import on


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


class Asking:
    """Raises what is wrong, which call of ChargePoint only logs."""

    async def ask(self, payload):
        return await self.call(payload, suppress=False)


async def refused(charger, call):
    """Asks for something that the service does not know."""
    try:
        await charger.ask(call.DataTransfer(vendor_id="none"))
    except NotImplementedByService:
        return
    raise AssertionError("DataTransfer was not refused")


class Charger16(Asking, v16.ChargePoint):
    def __init__(self, *args):
        super().__init__(*args)
        self.started, self.stopped = asyncio.Future(), asyncio.Future()

    @on("RemoteStartTransaction")
    async def on_start(self, id_tag, **_):
        self.started.set_result(id_tag)
        return v16.call_result.RemoteStartTransaction(status="Accepted")

    @on("RemoteStopTransaction")
    async def on_stop(self, transaction_id):
        self.stopped.set_result(transaction_id)
        return v16.call_result.RemoteStopTransaction(status="Accepted")

    async def charge(self):
        call = v16.call
        boot = await self.ask(call.BootNotification(charge_point_vendor="Longline", charge_point_model="Python"))
        assert boot.status == "Accepted", boot
        await self.ask(call.StatusNotification(connector_id=1, error_code="NoError", status="Available"))
        await self.ask(call.Authorize(id_tag="card-7"))
        tag = await self.started
        begun = await self.ask(call.StartTransaction(connector_id=1, id_tag=tag, meter_start=0, timestamp=now()))
        value = {"timestamp": now(), "sampledValue": [{"value": "18.25"}]}
        await self.ask(call.MeterValues(connector_id=1, transaction_id=begun.transaction_id, meter_value=[value]))
        await refused(self, call)
        assert await self.stopped == begun.transaction_id
        await self.ask(call.StopTransaction(transaction_id=begun.transaction_id, meter_stop=18250, timestamp=now()))


class Charger201(Asking, v201.ChargePoint):
    def __init__(self, *args):
        super().__init__(*args)
        self.started, self.stopped = asyncio.Future(), asyncio.Future()
        self.events = 0

    @on("RequestStartTransaction")
    async def on_start(self, **_):
        self.started.set_result(None)
        return v201.call_result.RequestStartTransaction(status="Accepted")

    @on("RequestStopTransaction")
    async def on_stop(self, transaction_id):
        self.stopped.set_result(transaction_id)
        return v201.call_result.RequestStopTransaction(status="Accepted")

    async def event(self, kind, reason, **more):
        await self.ask(v201.call.TransactionEvent(
            event_type=kind, trigger_reason=reason, timestamp=now(), seq_no=self.events,
            transaction_info={"transactionId": "tx-7"}, **more))
        self.events += 1

    async def charge(self):
        call = v201.call
        station = {"vendorName": "Longline", "model": "Python"}
        boot = await self.ask(call.BootNotification(charging_station=station, reason="PowerUp"))
        assert boot.status == "Accepted", boot
        await self.ask(call.StatusNotification(timestamp=now(), connector_status="Available", evse_id=1, connector_id=1))
        card = {"idToken": "card-7", "type": "ISO14443"}
        await self.ask(call.Authorize(id_token=card))
        await self.started
        value = {"timestamp": now(), "sampledValue": [{"value": 18.25}]}
        await self.event("Started", "RemoteStart", id_token=card)
        await self.event("Updated", "MeterValuePeriodic", meter_value=[value])
        await self.ask(call.MeterValues(evse_id=1, meter_value=[value]))
        await refused(self, call)
        assert await self.stopped == "tx-7"
        await self.event("Ended", "RemoteStop")


async def main(endpoint, identity, version):
    kind = Charger16 if version == "ocpp1.6" else Charger201
    async with websockets.connect(f"{endpoint}/{quote(identity, safe='')}", subprotocols=[version]) as ws:
        charger = kind(identity, ws)
        reading = asyncio.create_task(charger.start())
        await charger.charge()
        reading.cancel()


asyncio.run(main(*sys.argv[1:]))
