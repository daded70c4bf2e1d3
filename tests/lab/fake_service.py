"""A service of nothing but its health, for tests of the runtime: `python -m tests.lab.fake_service`."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with a healthy 200."""

    def do_GET(self) -> None:
        """Answer."""
        body = b'{"status": "ok"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    print("the fake service listens")
    ThreadingHTTPServer((os.environ["LAB_HOST"], int(os.environ["LAB_PORT"])), Handler).serve_forever()
