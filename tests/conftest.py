"One thread: the nets are small, and on a busy machine threads only wait for each other. And the wheel, for all who install it."
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
torch.set_num_threads(1)


def build_wheel(source, folder):
    "From a folder or an sdist, with the setuptools that is installed"
    pip_wheel = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation']
    subprocess.run([*pip_wheel, '-w', folder, source], check=True, capture_output=True)
    return next(Path(folder).glob('*.whl'))


@pytest.fixture(scope='session')
def checkout(tmp_path_factory):
    "A folder with a clean checkout's files"
    src = tmp_path_factory.mktemp('src')
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if not (ROOT/name).exists(): continue
        (src/name).parent.mkdir(parents=True, exist_ok=True)
        (src/name).write_bytes((ROOT/name).read_bytes())
    return src


@pytest.fixture(scope='session')
def wheel_file(checkout, tmp_path_factory): return build_wheel(checkout, tmp_path_factory.mktemp('wheel'))
