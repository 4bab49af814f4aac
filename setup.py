"Hands setuptools what settings.ini states; it states nothing itself."
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

cfg = ConfigParser(default_section='')
cfg.read(Path(__file__).with_name('settings.ini'), encoding='utf-8')
facts = cfg['DEFAULT']


def lines(text): return [o for o in text.splitlines() if o]


setup(
    install_requires=lines(facts['requirements']),
    extras_require={name: lines(text) for name, text in cfg['extras'].items()},
    keywords=facts['keywords'].split(),
    license=facts['license'],
    classifiers=lines(facts['classifiers']),
)
