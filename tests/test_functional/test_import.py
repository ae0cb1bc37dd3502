"""The functions belong to any training loop."""

import subprocess
import sys


def test_they_need_torch_alone_and_patch_nothing() -> None:
    code = (
        'import sys, mmkd_logit.functional\n'
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(loaded & {'mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'matplotlib'})"
    )
    command = [sys.executable, '-c', code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == 'set()'
