"""Build the descriptors of ZITADEL's messages, which patauth ships, from its `.proto` files.

python -m tests.descriptors      writes patauth/wsgi/zitadel/proto/descriptors.binpb
"""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

import patauth

FOLDER = Path(patauth.__file__).parent / "wsgi" / "zitadel" / "proto"
SHIPPED = FOLDER / "descriptors.binpb"


def built() -> bytes:
    """Return a FileDescriptorSet of all `.proto` files, with what they import and without their comments."""
    sources = sorted(path.name for path in FOLDER.glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / SHIPPED.name
        paths = [f"-I{FOLDER}", f"-I{files('grpc_tools') / '_proto'}"]
        words = ["protoc", *paths, "--include_imports", f"--descriptor_set_out={out}", *sources]
        if protoc.main(words) != 0:
            raise SystemExit("protoc refuses the .proto files; see above")
        return out.read_bytes()


if __name__ == "__main__":
    SHIPPED.write_bytes(built())
