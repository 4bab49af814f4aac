"The site: it builds without a warning, and a real browser finds every page whole, wide and narrow; the start page's code runs."
import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']
DESKTOP, PHONE = dict(width=1280, height=900), dict(width=390, height=844)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason='no browser; `apt-get install -y chromium` installs one')
pytestmark = pytest.mark.xdist_group('docs')

# What is amiss on the page that is open: pictures that are not there, and what sticks out to the right
BROKEN_IMAGES = "[...document.images].filter(o => !(o.complete && o.naturalWidth > 0)).map(o => o.src)"
OVERFLOW = """Math.max(0, ...[...document.querySelectorAll('article *')].filter(o => {
    for (let p = o.parentElement; p.tagName != 'ARTICLE'; p = p.parentElement)
        if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return false;
    return o.getClientRects().length }).map(o => o.getBoundingClientRect().right - innerWidth),
    document.documentElement.scrollWidth - innerWidth)"""
SECTIONS = ['Guides', 'Tutorials', 'Callbacks', 'Recipes', 'Losses, splits, optimizers', 'Building blocks', 'Evidence']
LINKS = "[...document.querySelectorAll('a[href]')].map(o => o.href)"
LEFT = 'net::ERR_ABORTED'     # what a page was still loading when the next one was opened
ANCHORS = "[...document.querySelectorAll('[id]')].map(o => o.id)"


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The site, built with warnings as errors"
    out = tmp_path_factory.mktemp('docs')/'site'
    res = subprocess.run([sys.executable, ROOT/'docs'/'build.py', out], capture_output=True, text=True)
    assert res.returncode == 0, res.stdout[-3000:] + res.stderr[-3000:]
    return out


@pytest.fixture(scope='module')
def address(site):
    "Where the site is served"
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}/'
        server.shutdown()


@pytest.fixture(scope='module')
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser):
    "Opens a tab of a given size that keeps what went wrong in `.wrong` and what it asked for in `.asked`"
    contexts = []
    def tab(size):
        contexts.append(browser.new_context(viewport=size, color_scheme='light'))
        page = contexts[-1].new_page()
        page.set_default_timeout(300_000)       # ms, on a busy machine
        page.wrong, page.asked = [], set()
        page.on('console', lambda o: page.wrong.append(f'console: {o.text}') if o.type in ('error', 'warning') else None)
        page.on('pageerror', lambda o: page.wrong.append(f'script: {o}'))
        page.on('request', lambda o: page.asked.add(urlsplit(o.url).netloc) if o.url.startswith('http') else None)
        page.on('requestfailed', lambda o: page.wrong.append(f'failed: {o.url}, {o.failure}') if o.failure != LEFT else None)
        page.on('response', lambda o: page.wrong.append(f'{o.status}: {o.url}') if o.status >= 400 else None)
        return page
    yield tab
    for o in contexts: o.close()


def pages(site): return sorted(o.relative_to(site).as_posix() for o in site.rglob('*.html') if '_static' not in o.parts)


def test_every_page_of_nbs(site):
    "Each notebook and each text in nbs/ is a page, in the navigation, under its name; each says where its source is"
    from nbdev.config import nbpath2html
    nbs = [p.relative_to(ROOT/'nbs') for p in (ROOT/'nbs').rglob('*') if p.suffix in ('.ipynb', '.md')]
    names = {nbpath2html(o).as_posix() for o in nbs if '.ipynb_checkpoints' not in o.parts}
    assert names | {'search.html'} == set(pages(site))
    start = (site/'index.html').read_text(encoding='utf-8')
    menu = start[start.index('sidebar-tree'):start.index('</aside>')]
    assert not [n for n in names - {'index.html'} if f'href="{n}"' not in menu]
    captions = re.findall(r'class="caption-text">([^<]*)<', menu)
    assert captions == SECTIONS


def test_api_tables(site):
    "Signatures are tables with links to the source; nothing of Quarto's or the notebook's markup is left in the text"
    sam = (site/'callbacks/sam.html').read_text(encoding='utf-8')
    assert re.search(r'<a class="[^"]*source-link[^"]*" href="https://github.com/[^"]*/fastai_recipes/callbacks/sam.py#L\d+"', sam)
    assert '<table' in sam[sam.index('class="api'):] and 'id="sam"' in sam and '<math' in sam
    for name in pages(site):
        text = re.sub(r'<(pre|code|script|style).*?</\1>|<[^>]*>', ' ', (site/name).read_text(encoding='utf-8'), flags=re.S)
        assert not (left := re.findall(r'.{0,40}(?:#\||:::|\]\(|\{target=|\{\.|\$\$|```|\|---).{0,40}', text)), (name, left)


@needs_browser
def test_pages_in_a_browser(site, address, tab):
    "No error, no request to elsewhere, no broken picture or link, nothing that sticks out of a phone"
    wide, narrow, wrong, links, anchors = tab(DESKTOP), tab(PHONE), [], {}, {}
    for name in pages(site):
        for page in (wide, narrow):
            page.goto(address + name)
            page.wait_for_load_state('networkidle') if name == 'search.html' else None
            page.evaluate("document.querySelectorAll('details').forEach(o => o.open = true)")
            wrong += [f'{name}: {o}' for o in page.wrong + page.evaluate(BROKEN_IMAGES)]
            if (over := page.evaluate(OVERFLOW)) >= 1: wrong.append(f'{name}: {over:.0f} px too wide at {page.viewport_size["width"]}')
            page.wrong.clear()
        links[name], anchors[name] = wide.evaluate(LINKS), {*wide.evaluate(ANCHORS), ''}
    wrong += [f'asks {o}' for o in (wide.asked | narrow.asked) - {urlsplit(address).netloc}]
    for name, found in links.items():
        for link in found:
            path, anchor = urldefrag(link)
            parts = urlsplit(link)
            if not link.startswith(address):
                if parts.scheme != 'https' or '.' not in parts.netloc or ' ' in link: wrong.append(f'{name}: odd link {link}')
            elif (to := path.removeprefix(address) or 'index.html') not in anchors:
                if not (site/to).is_file(): wrong.append(f'{name}: no page {link}')
            elif anchor not in anchors[to]: wrong.append(f'{name}: no place {link}')
    assert not wrong, '\n'.join(wrong)


@needs_browser
@pytest.mark.parametrize('query, page', [('SAM', 'callbacks/sam.html'), ('batch size', 'recipes/batch_size.html')])
def test_search(address, tab, query, page):
    "Typed into the search of the start page, on a desktop and on a phone"
    for size in (DESKTOP, PHONE):
        here = tab(size)
        here.goto(address)
        if size is PHONE: here.locator('label[for=__navigation]:visible').first.click()
        box = here.locator('input[name=q]')
        box.fill(query)
        box.press('Enter')
        found = here.locator('ul.search a')
        found.first.wait_for()
        here.wait_for_function("document.querySelector('#search-results').textContent.includes('found')")
        assert any(urlsplit(o).path == f'/{page}' for o in found.evaluate_all("o => o.slice(0, 5).map(p => p.href)")), query
        assert not here.wrong


@needs_browser
def test_dark_mode(address, tab):
    "The button changes the colours, and the next page keeps them"
    page = tab(DESKTOP)
    def brightness(): return sum(map(int, re.findall(r'\d+', page.evaluate('getComputedStyle(document.body).backgroundColor'))[:3]))
    page.goto(address)
    seen = {brightness()}
    for _ in range(3):
        page.locator('.theme-toggle:visible').first.click()
        seen.add(brightness())
        if min(seen) < 150: break
    assert max(seen) > 600 and min(seen) < 150
    page.goto(address + 'callbacks/sam.html')
    assert brightness() == min(seen)
    assert not page.wrong


def test_start_page_runs(tmp_path):
    "Every Python sample of README.md, which is the start page, as copied, one after the other in a fresh process"
    samples = re.findall(r'^```python\n(.*?)^```', (ROOT/'README.md').read_text(encoding='utf-8'), re.M | re.S)
    assert samples
    (tmp_path/'samples.py').write_text('\n'.join(samples), encoding='utf-8')
    res = subprocess.run([sys.executable, '-W', 'ignore', 'samples.py'], cwd=tmp_path, capture_output=True, text=True)
    assert res.returncode == 0, res.stderr[-3000:]


def test_readme_links():
    "README.md's links lead to files of the repository"
    links = re.findall(r'\]\(([^)\s]+)\)', (ROOT/'README.md').read_text(encoding='utf-8'))
    missing = [o for o in links if not urlsplit(o).scheme and not (ROOT/urljoin('', o).split('#')[0]).is_file()]
    assert any('nbs/' in o for o in links) and not missing
