"""The receiver of a webhook: it checks the signatures of requests, and writes payloads to files in the directory DIR, each in a line of the file that
the path names. A batch with a payload that is "bad" it refuses. It prints its port. receiver.py DIR SECRET"""
import gzip, hashlib, hmac, http.server, json, os, sys, time

directory, secret = sys.argv[1], sys.argv[2].encode()


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = [part.split("=", 1) for part in self.headers.get("Longline-Signature", "t=0").split(",")]
        signed = dict(parts)["t"]
        mac = hmac.new(secret, signed.encode() + b"." + body, hashlib.sha256).hexdigest()
        if abs(time.time() - int(signed)) > 300 or not any(key == "v1" and hmac.compare_digest(value, mac) for key, value in parts):
            return self.answer(401, "the signature is missing, old or wrong")
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        payloads = [message["payload"] for message in json.loads(body)]
        if "bad" in payloads:
            return self.answer(422, "a payload is bad")
        with open(os.path.join(directory, os.path.basename(self.path)), "a") as file:
            file.write("".join(json.dumps(payload) + "\n" for payload in payloads))
        self.answer(200, "")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
