"""An instance of a service in Python, for the test of a mixed fleet. It needs no package.

    python3 fleet_service.py NAME

It prints the port on which it listens, and then each call, before it answers: {"device": ..., "method": ..., "n": ...}.
"""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def say(line):
    sys.stdout.write(f"{line}\n")  # one write per line, because calls have threads of their own
    sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = {"device": self.headers["Longline-Device"], "method": self.path[1:], "n": asked["n"]}
        say(json.dumps(call))
        body = json.dumps({**call, "instance": sys.argv[1]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
say(server.server_port)
server.serve_forever()
