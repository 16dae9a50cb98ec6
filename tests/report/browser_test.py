"""The page in a real browser, without a screen."""

import base64
import itertools
import re
import shutil

import pytest

from dualrs_jax.report import certification, pictures, subject

pytestmark = [pytest.mark.slow, pytest.mark.browser]

BROWSER, DRIVER = map(shutil.which, ('chromium', 'chromedriver'))
if not (BROWSER and DRIVER):
  pytest.skip('there is no Chromium here', allow_module_level=True)

FLAGS = (
  'headless',
  'no-sandbox',
  'disable-gpu',
  'disable-quic',
  'no-first-run',
  'disable-background-networking',
  'disable-component-update',
  'disable-sync',
)


@pytest.fixture(scope='module')
def driver(tmp_path_factory):
  from selenium import webdriver
  from selenium.webdriver.chrome.service import Service

  options = webdriver.ChromeOptions()
  options.binary_location = BROWSER
  for flag in FLAGS:
    options.add_argument(f'--{flag}')
  profile = tmp_path_factory.mktemp('profile')
  options.add_argument(f'--user-data-dir={profile}')
  options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
  driver = webdriver.Chrome(options=options, service=Service(DRIVER))
  yield driver
  driver.quit()


@pytest.fixture(scope='module')
def address(tmp_path_factory, run_of, source_of_run):
  run = run_of(120)
  singles = [
    run_of(
      120,
      label=f'single-{sigma:g}',
    )._replace(settings={**run.settings, 'sigmas': [sigma]})
    for sigma in run.settings['sigmas']
  ]
  training = [
    {'stage': 'classifier-0', 'step': step, 'loss': 1 / step}
    for step in range(1, 30)
  ]
  files = {row.idx: f'test/cat/Photo {row.idx:03}.png' for row in run.rows}
  about = subject.make(run, singles=singles, training=training, files=files)
  drawn = pictures.draw(source_of_run(run), range(120), run.settings)
  path = tmp_path_factory.mktemp('page') / 'report.html'
  path.write_text(certification.write(about, drawn))
  return path.as_uri()


@pytest.fixture
def page(driver, address):
  emulate(driver, width=1280, scheme='light')
  driver.get(address)
  wait(driver, "document.querySelectorAll('[data-drawn=done]').length >= 6")
  yield driver
  assert driver.get_log('browser') == []


def emulate(driver, *, width, scheme):
  features = [
    {'name': 'prefers-color-scheme', 'value': scheme},
    {'name': 'prefers-reduced-motion', 'value': 'reduce'},  # for clicks
  ]
  driver.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': features})
  size = {'width': width, 'height': 800, 'deviceScaleFactor': 1}
  driver.execute_cdp_cmd(
    'Emulation.setDeviceMetricsOverride', {**size, 'mobile': width < 600}
  )


def wait(driver, condition):
  from selenium.webdriver.support.ui import WebDriverWait

  WebDriverWait(driver, 60).until(
    lambda _: driver.execute_script(f'return {condition}')
  )


def find(driver, selector):
  return driver.find_element('css selector', selector)


def shown(driver):
  """All images that the filter leaves, page by page, in their order."""
  numbers = []
  while True:
    numbers += driver.execute_script(
      "return [...document.querySelectorAll('#table .open')]"
      '.map((button) => Number(button.textContent))'
    )
    following = find(driver, '#pages button:last-child')
    if not following.is_enabled():
      return numbers
    following.click()


def choose(driver, name, value):
  driver.execute_script(
    "const field = document.getElementById('filter').elements[arguments[0]];"
    'field.value = arguments[1];'
    "field.dispatchEvent(new Event('input', {bubbles: true}));",
    name,
    value,
  )


def test_a_filter_does_what_it_says(page, run_of):
  rows = run_of(120).rows
  assert shown(page) == [row.idx for row in rows]
  choose(page, 'outcome', 'given up')
  assert shown(page) == [row.idx for row in rows if row.predict < 0]
  choose(page, 'outcome', '*')
  choose(page, 'radius from', '0.2')
  choose(page, 'radius to', '0.6')
  choose(page, 'level', '0.5')
  wanted = [
    row
    for row in rows
    if row.sigma == 0.5 and row.predict >= 0 and 0.2 <= row.radius <= 0.6
  ]
  assert wanted
  assert shown(page) == [row.idx for row in wanted]
  right = sum(row.correct for row in wanted)
  told = find(page, '#count').text
  assert told == f'{len(wanted)} of 120 images, {right} of them right'
  find(page, '#clear').click()
  assert len(shown(page)) == 120


def test_every_column_sorts(page, run_of):
  rows = run_of(120).rows
  find(page, '[data-sort=radius]').click()
  radii = [rows[idx].radius for idx in shown(page) if rows[idx].predict >= 0]
  assert radii == sorted(radii)
  find(page, '[data-sort=radius]').click()
  order = shown(page)
  radii = [rows[idx].radius for idx in order if rows[idx].predict >= 0]
  assert radii == sorted(radii, reverse=True)
  assert rows[order[-1]].predict < 0
  head = find(page, 'th[aria-sort=descending]')
  assert 'radius' in head.text


def test_a_click_on_a_radius_shows_who_is_certified_there(page, run_of):
  from selenium.webdriver.common.action_chains import ActionChains

  place = find(page, '[data-chart=accuracy]')
  page.execute_script('arguments[0].scrollIntoView()', place)
  ActionChains(page).move_to_element(place).click().perform()
  wait(page, "document.querySelector('[name=\"radius from\"]').value !== ''")
  radius = float(find(page, '[name="radius from"]').get_property('value'))
  rows = run_of(120).rows
  assert radius > 0
  assert shown(page) == [
    row.idx for row in rows if row.predict >= 0 and row.radius >= radius
  ]


def test_the_buttons_of_radii_have_the_numbers_of_images(page):
  for button in page.find_elements('css selector', '[data-radius]'):
    count = int(re.search(r'(\d+) images', button.text).group(1))
    button.click()
    assert find(page, '#count').text.startswith(f'{count} of 120')


def test_one_image_is_looked_up_with_the_keyboard(page, run_of):
  from selenium.webdriver.common.keys import Keys

  field = find(page, '#ask-image')
  field.clear()
  field.send_keys('17', Keys.ENTER)
  wait(page, "document.getElementById('image').open")
  said = find(page, '#image').text
  row = run_of(120).rows[17]
  assert 'Image 17' in said
  assert f'The noise level is σ = {row.sigma:g}' in said
  assert 'How sure is that' in said
  assert len(page.find_elements('css selector', '#image img')) == 4
  page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
  assert 'Image 18' in find(page, '#image').text
  page.switch_to.active_element.send_keys(Keys.ESCAPE)
  wait(page, "!document.getElementById('image').open")


def test_an_image_is_found_by_its_file(page):
  from selenium.webdriver.common.keys import Keys

  choose(page, 'file', 'photo 01')
  assert shown(page) == [*range(10, 20)]
  find(page, '#clear').click()
  assert len(shown(page)) == 120
  field = find(page, '#ask-image')
  field.clear()
  field.send_keys('PHOTO 017', Keys.ENTER)
  wait(page, "document.getElementById('image').open")
  assert 'test/cat/Photo 017.png' in find(page, '#image').text
  find(page, '#image .row button:last-child').click()


def test_the_table_is_reached_by_tab_alone(page):
  from selenium.webdriver.common.keys import Keys

  seen = set()
  for _ in range(60):
    page.switch_to.active_element.send_keys(Keys.TAB)
    active = page.switch_to.active_element
    seen.add(active.get_attribute('aria-label') or active.text)
  assert 'Open image 0' in seen
  assert 'Filter' in seen


def test_why_is_seen_without_scrolling(page):
  room = find(page, '#table').rect
  for name in ('cause', 'limit', 'endless'):
    head = find(page, f'[data-sort={name}]').rect
    assert head['x'] + head['width'] < room['x'] + room['width']


def test_it_prints(page):
  pdf = base64.b64decode(page.print_page())
  assert pdf.startswith(b'%PDF')
  assert len(pdf) > 20_000


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [360, 768, 1280])
def test_it_fits_every_screen_and_is_readable(page, width, scheme):
  emulate(page, width=width, scheme=scheme)
  wait(page, f'innerWidth === {width}')
  # charts are drawn anew at the width, a moment later
  wait(page, 'document.documentElement.scrollWidth <= innerWidth')
  # what a table has no room for is reached, and shown to be there
  for table in page.find_elements('css selector', '.wide, #table'):
    assert table.value_of_css_property('overflow-x') == 'auto'
    assert 'linear-gradient' in table.value_of_css_property('background-image')
    end = page.execute_script(
      'const box = arguments[0]; box.scrollLeft = 9999;'
      'return box.scrollLeft + box.clientWidth - box.scrollWidth',
      table,
    )
    assert abs(end) <= 1
  for selector in ('.lead', '.card p', '.claim', 'figcaption', '.card h3'):
    assert contrast(page, selector) >= 4.5, selector


def contrast(driver, selector):
  """Of a text to what is behind it, as accessibility guidelines define it."""
  colors = driver.execute_script(
    """
    let element = document.querySelector(arguments[0]);
    const colors = [getComputedStyle(element).color];
    let behind = 'rgba(0, 0, 0, 0)';
    while (behind === 'rgba(0, 0, 0, 0)') {
      behind = getComputedStyle(element).backgroundColor;
      element = element.parentElement;
    }
    return [...colors, behind];
    """,
    selector,
  )
  bright, dim = sorted(map(luminance, colors), reverse=True)
  return (bright + 0.05) / (dim + 0.05)


def luminance(color):
  channels = itertools.islice(map(int, re.findall(r'\d+', color)), 3)
  linear = [
    c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4
    for c in channels
  ]
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_fifty_thousand_rows_are_usable(driver, tmp_path, run_of):
  small = run_of(200)
  rows = [small.rows[idx % 200]._replace(idx=idx) for idx in range(50_000)]
  many = small._replace(
    settings={**small.settings, 'images': 50_000}, rows=rows
  )
  path = tmp_path / 'report.html'
  path.write_text(certification.write(subject.make(many), []))
  assert path.stat().st_size < 16_000_000
  driver.get(path.as_uri())
  wait(driver, "document.getElementById('count').textContent !== ''")
  assert '50000 of 50000' in find(driver, '#count').text
  assert 'page 1 of 2000' in find(driver, '#pages').text
  choose(driver, 'outcome', 'given up')
  lost = sum(row.predict < 0 for row in rows)
  assert find(driver, '#count').text.startswith(f'{lost} of 50000')
  assert 'for 500 of the 50,000 images' in find(driver, '#images').text
  assert driver.get_log('browser') == []
