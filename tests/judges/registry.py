#!/usr/bin/env python3
"""registry.py PORT [CERTIFICATE KEY AUTHORITY]: a schema registry in memory that can be told to fail. With a
certificate it speaks TLS on PORT + 1 as well, and asks for a client certificate that AUTHORITY signed.

It does what a converter and a deserializer ask: register, look up, by id, versions, compatibility by name only
(no schema is compared). Ids count from 1; the same text has the same id under every subject.

  PUT /faults {"status": 500, "error_code": 50001, "message": "…", "times": 3, "subject": "…"}
      the next `times` registrations and look-ups (-1: all, until the next PUT) of subjects that contain
      `subject` are answered so
  GET /calls  how many requests of each "METHOD path" came
"""
import json
import ssl
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

lock, ids, by_id, subjects, faults, calls = Lock(), {}, {}, {}, {}, {}


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def error(self, status, code, message):
        self.answer(status, {"error_code": code, "message": message})

    def handle_one(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = [urllib.parse.unquote(part) for part in self.path.split("?")[0].strip("/").split("/")]
        with lock:
            key = f"{method} /{'/'.join(path)}"
            if path != ["calls"]:
                calls[key] = calls.get(key, 0) + 1
            match method, *path:
                case "PUT", "faults":
                    faults.clear()
                    faults.update(json.loads(body or b"{}"))
                    return self.answer(200, {})
                case "GET", "calls":
                    return self.answer(200, calls)
                case "GET", "":
                    return self.answer(200, {})
                case "GET", "subjects":
                    return self.answer(200, sorted(subjects))
                case "GET", "schemas", "ids", number, *_:
                    text = by_id.get(int(number))
                    if text is None:
                        return self.error(404, 40403, "Schema not found")
                    return self.answer(200, {"schema": text})
                case "GET" | "PUT", "config", *_:
                    return self.answer(200, {"compatibilityLevel": "BACKWARD"})
                case "POST", "subjects", subject, *rest:
                    return self.post(subject, rest, json.loads(body))
                case "GET", "subjects", subject, "versions":
                    if subject not in subjects:
                        return self.error(404, 40401, f"Subject '{subject}' not found.")
                    return self.answer(200, list(range(1, len(subjects[subject]) + 1)))
                case "GET", "subjects", subject, "versions", version:
                    versions = subjects.get(subject, [])
                    number = len(versions) if version == "latest" else int(version)
                    if not 1 <= number <= len(versions):
                        return self.error(404, 40402, f"Version {version} not found.")
                    return self.answer(200, self.version(subject, number))
        self.error(404, 404, "HTTP 404 Not Found")

    def version(self, subject, number):
        id = subjects[subject][number - 1]
        return {"subject": subject, "version": number, "id": id, "schema": by_id[id]}

    def post(self, subject, rest, body):
        if faults.get("times", 0) != 0 and faults.get("subject", "") in subject:
            faults["times"] -= 1
            status = faults["status"]
            return self.error(status, faults.get("error_code", status), faults.get("message", "told to fail"))
        text = body["schema"]
        if rest == ["versions"]:
            id = ids.setdefault(text, len(ids) + 1)
            by_id[id] = text
            if id not in subjects.setdefault(subject, []):
                subjects[subject].append(id)
            return self.answer(200, {"id": id})
        if subject not in subjects:
            return self.error(404, 40401, f"Subject '{subject}' not found.")
        if ids.get(text) not in subjects[subject]:
            return self.error(404, 40403, "Schema not found")
        return self.answer(200, self.version(subject, subjects[subject].index(ids[text]) + 1))

    def do_GET(self):
        self.handle_one("GET")

    def do_POST(self):
        self.handle_one("POST")

    def do_PUT(self):
        self.handle_one("PUT")

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port, secured = int(sys.argv[1]), sys.argv[2:]
    if secured:
        certificate, key, authority = secured
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
        context.load_cert_chain(certificate, key)
        context.verify_mode = ssl.CERT_REQUIRED
        server = ThreadingHTTPServer(("127.0.0.1", port + 1), Registry)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", port), Registry).serve_forever()
