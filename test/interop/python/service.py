"""A service in Python, without a package: it adds numbers.

    python3 service.py http://127.0.0.1:8081/v1/services/sums
"""
import json
import sys
import urllib.request

url = sys.argv[1]


def answer(call, body, **headers):
    request = urllib.request.Request(f"{url}/answers/{call['id']}", body.encode(), headers)
    urllib.request.urlopen(request).close()


for line in urllib.request.urlopen(url):
    if line.startswith(b"data: "):
        call = json.loads(line[6:])
        if call.get("method") == "add":
            answer(call, json.dumps(sum(call["payload"])))
        elif "method" in call:
            answer(call, "this service only adds", **{"Longline-Error": "unknown_method"})
