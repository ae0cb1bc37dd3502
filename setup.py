"""Packaging. The settings of the tools are in pyproject.toml."""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ('configs', 'tools')


def read_version() -> str:
    text = (ROOT / 'mmkd_logit' / 'version.py').read_text()
    return re.search(r"__version__ = '(.+)'", text).group(1)


class BuildWithMim(build_py):
    """Ship configs and tools as ``mmkd_logit/.mim``, where OpenMMLab looks for them.

    An editable install links to them, so that changes are seen at once.
    """

    def run(self) -> None:
        super().run()
        editable = getattr(self, 'editable_mode', False)
        mim = (ROOT if editable else Path(self.build_lib)) / 'mmkd_logit' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in SHIPPED:
            if editable:
                os.symlink(os.path.join('..', '..', name), mim / name)
            else:
                ignore = shutil.ignore_patterns('__pycache__')
                shutil.copytree(ROOT / name, mim / name, ignore=ignore)
        metafiles = sorted((ROOT / 'configs').glob('*/metafile.yml'))
        lines = [f'  - {path.relative_to(ROOT).as_posix()}' for path in metafiles]
        (mim / 'model-index.yml').write_text('\n'.join(['Import:', *lines, '']))


# The two stacks hold the same modules under other names: never install both.
EXTRAS = {
    'onedl': [
        'onedl-mmengine>=0.10.12',
        'onedl-mmcv>=2.3.6',
        'onedl-mmpretrain>=1.3.6',
        'onedl-mmsegmentation>=1.4.2',
        'torch>=2.6',
        'torchvision>=0.21',
    ],
    'openmmlab': [
        # Without mmcv, which pip cannot build along with torch: see docs/stacks.md.
        'mmengine==0.10.7',
        'mmpretrain==1.2.0',
        'mmsegmentation==1.2.2',
        'torch>=2.1,<2.2',
        'torchvision>=0.16,<0.17',
        'numpy<2',
        'setuptools<81',
        'ftfy',
        'regex',
    ],
    # Libraries that teachers come from.
    'timm': ['timm>=1.0.27', 'safetensors'],
    'huggingface': ['transformers>=4.41', 'safetensors'],
    'onnx': ['onnx', 'onnxruntime', 'onnxscript'],
    'docs': ['mkdocs>=1.6,<2', 'mkdocs-material>=9.5', 'mkdocstrings[python]>=1'],
    'test': [
        'pytest>=8',
        'pytest-xdist>=3.5',
        'pyyaml',
        'onedl-mim>=0.5',
        'timm>=1.0.27',
        'transformers>=4.41',
        'safetensors',
        'onnx',
        'onnxruntime',
        'onnxscript',
        'ipykernel',
        'nbclient',
    ],
}
EXTRAS['dev'] = [
    *EXTRAS['test'],
    'codespell',
    'mypy',
    'pre-commit',
    'ruff',
    'types-PyYAML',
]

setup(
    name='mmkd_logit',
    version=read_version(),
    description='Logit distillation for mmpretrain and mmsegmentation',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmkd_logit', 'mmkd_logit.*']),
    install_requires=[
        'matplotlib>=3.7',
        'numpy',
        'rich',
        'scikit-learn',
        'scipy',
        'torch>=2.1',
    ],
    extras_require=EXTRAS,
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
