"""gunicorn for examples/flask_app.py: gunicorn -c examples/gunicorn.conf.py flask_app:app"""

from pathlib import Path

bind = "127.0.0.1:8000"
workers = 2
threads = 4  # an Authority serves all threads of its worker
worker_class = "gthread"
preload_app = True  # safe: patauth connects at the first request, each worker for itself
pythonpath = str(Path(__file__).parent)  # where flask_app is
timeout = 30  # s
graceful_timeout = 10  # s

# By default a caller from this machine may set SCRIPT_NAME and PATH_INFO, and so the path that rules are
# matched against. Name your proxy's address here, and no header that it does not set itself.
forwarded_allow_ips = "127.0.0.1"
forwarder_headers = ""
limit_request_fields = 100
limit_request_field_size = 8190  # bytes
