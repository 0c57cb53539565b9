"""What loading towers and methods does to a process that did nothing else: no noise, and nothing it has no use for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

UNWANTED = ("DeltaCenter", "web", "oss2", "aliyunsdkcore", "git", "turtle", "tkinter", "datasets", "requests")
CODE = f"""
import sys
sys.modules["torchvision"] = None  # as where it is not installed
from PIL import Image
from xpet.methods import bridge
from xpet.models.image_tower import load_image_tower
load_image_tower(sys.argv[1]).encode([Image.new("RGB", (40, 50))])
bridge.opendelta()
print(sorted(set({UNWANTED!r}) & set(sys.modules)))
"""


def test_no_torchvision_no_noise_and_no_network_client_or_server(image_checkpoint: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, str(image_checkpoint)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
