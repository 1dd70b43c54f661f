"""Any WSGI app behind patauth, without a framework: python examples/plain_wsgi.py

The gate demands the scopes by path; the app only reads who is calling.
"""

import json
import os
from wsgiref.simple_server import make_server

import patauth


def app(environ, start_response):
    principal = environ.get("patauth.principal")  # None on public paths
    body = json.dumps({"path": environ["PATH_INFO"], "caller": principal and principal.subject.id}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def protect(authority):
    return patauth.PatAuthMiddleware(
        app,
        authority,
        public=["/healthz", "/static/*"],
        require={
            "GET /reports/*": "reports:read",
            "POST /reports/*": ["reports:read", "reports:write"],  # both
        },
    )


application = protect(patauth.Authority.from_url(os.environ.get("PATAUTH_STORE_URL", "local:./patauth-data")))

if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), application) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
