"""An MQTT device in Python that calls a service, with paho-mqtt, in MQTT 5 or 3.1.1.

    python3 mqtt_call.py 127.0.0.1 1883 pump-1 5
"""
import json
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host, port, device, version = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
answers = f"device/{device}/service-reply"
five = version == 5
events = queue.Queue()  # what the client's thread tells: None for the subscription, and the answers


def on_message(client, userdata, message):
    text = message.payload.decode()
    if five:
        number = message.properties.CorrelationData.decode()
        refused = dict(getattr(message.properties, "UserProperty", [])).get("error")
        text = f"{refused}: {text}" if refused else text
    else:
        number, _, refused = message.topic[len(answers) + 1:].partition("/")
    events.put((number, refused, text))


def call(number, service, method, payload):
    """Prints the answer to a call, or its refusal."""
    topic, properties = f"device/{device}/service/{service}/{method}", None
    if five:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic, properties.CorrelationData, properties.ContentType = answers, number.encode(), "application/json"
    else:
        topic += f"/{number}"
    client.publish(topic, json.dumps(payload), qos=2, properties=properties)
    answered, refused, text = events.get(timeout=20)
    assert answered == number, (answered, number)
    print(text)


client = mqtt.Client(client_id=device, protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311)
client.on_message = on_message
client.on_subscribe = lambda *_: events.put(None)
client.connect(host, port)
client.loop_start()
client.subscribe([(answers, 0), (f"{answers}/#", 0)] if not five else [(answers, mqtt.SubscribeOptions(qos=0))])
events.get(timeout=20)
call("1", "billing", "authorize", {"card": "4f2a"})
call("2", "billing", "authorize", {"card": "0000"})
client.disconnect()
client.loop_stop()
