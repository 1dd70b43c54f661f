"""gunicorn for examples/flask_app.py: gunicorn -c examples/gunicorn.conf.py flask_app:app"""

from pathlib import Path

bind = "127.0.0.1:8000"
workers = 2
threads = 4  # an Authority serves all threads of its worker
preload_app = True  # safe: patauth connects lazily, and anew in each worker
pythonpath = str(Path(__file__).parent)  # where flask_app is
graceful_timeout = 10  # s
