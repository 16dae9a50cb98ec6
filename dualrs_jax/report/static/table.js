// The table: columns of values, sorted, filtered and paged.

const PAGE = 25;
const END = 24;

function show(column, value) {
  if (value === null || value === '') return '';
  if (value === Infinity) return column.unlimited;
  if (column.kind === 'radius') {
    const text = value.toFixed(3); // never read as more than it is
    return Number(text) <= value ? text : (value - 0.0005).toFixed(3);
  }
  if (column.kind === 'share') return (100 * value).toFixed(1) + ' %';
  if (column.kind === 'estimate') return value.toFixed(2);
  if (column.kind === 'count' && column.name !== 'idx') {
    return value.toLocaleString('en');
  }
  return String(value);
}

// JSON has no infinite numbers: these are texts in columns of estimates.
function readColumns(columns) {
  for (const column of columns.filter(({kind}) => kind === 'estimate')) {
    column.unlimited = column.values.find((value) => typeof value === 'string');
    column.values = column.values.map(
      (value) => typeof value === 'string' ? Infinity : value);
  }
}

// Whether a text has a part, in letters of either case.
function has(text, part) {
  return text.toLowerCase().includes(part.toLowerCase());
}

function makeTable(data, openImage) {
  readColumns(data.columns);
  const columns = Object.fromEntries(data.columns.map((c) => [c.name, c]));
  const numeric = (column) => !['text', 'search'].includes(column.kind);
  const state = {filters: {}, sort: 'idx', down: false, page: 0, rows: []};

  function passes(row) {
    return Object.entries(state.filters).every(([name, wanted]) => {
      const value = columns[name].values[row];
      if (columns[name].kind === 'search') return has(value, wanted);
      if (!numeric(columns[name])) return value === wanted;
      if (value === null) return false;
      return value >= wanted.from && value <= wanted.to;
    });
  }

  function compare(a, b) {
    const values = columns[state.sort].values;
    const [one, two] = [values[a], values[b]];
    const none = (value) => value === null || value === '';
    if (none(one) || none(two)) return none(one) - none(two) || a - b;
    const text = !numeric(columns[state.sort]);
    const order = text ? one.localeCompare(two, 'en', {numeric: true}) : one - two;
    return (state.down ? -order : order) || a - b;
  }

  function cell(column, row) {
    const td = document.createElement('td');
    td.dataset.title = column.title;
    let text = show(column, column.values[row]);
    if (!numeric(column)) td.className = `text ${column.kind}`;
    if (column.kind === 'search') {
      td.title = text;
      if (text.length > END) text = `…${text.slice(-END)}`; // where files differ
    }
    if (column.name === 'idx') {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'open';
      button.textContent = text;
      button.setAttribute('aria-label', `Open image ${text}`);
      button.addEventListener('click', () => openImage(row));
      td.append(button);
    } else if (column.name === 'outcome') {
      const span = document.createElement('span');
      span.className = `dot ${text.split(' ')[0]}`;
      span.textContent = text;
      td.append(span);
    } else td.textContent = text;
    return td;
  }

  function head() {
    const tr = document.createElement('tr');
    if (data.pictured) tr.append(document.createElement('td'));
    for (const column of data.columns) {
      const th = document.createElement('th');
      const sorted = state.sort === column.name;
      if (!numeric(column)) th.className = 'text';
      th.scope = 'col';
      th.title = column.help;
      th.setAttribute('aria-sort',
        sorted ? (state.down ? 'descending' : 'ascending') : 'none');
      const button = document.createElement('button');
      button.type = 'button';
      button.dataset.sort = column.name;
      button.textContent = column.title + (sorted ? (state.down ? ' ↓' : ' ↑') : '');
      button.addEventListener('click', () => {
        state.down = sorted && !state.down;
        state.sort = column.name;
        update();
        document.querySelector(`[data-sort="${column.name}"]`).focus();
      });
      th.append(button);
      tr.append(th);
    }
    const thead = document.createElement('thead');
    thead.append(tr);
    return thead;
  }

  function pictureCell(row) {
    const td = document.createElement('td');
    const [uri] = data.details[row]?.pictures ?? [];
    if (uri) {
      const img = document.createElement('img');
      img.src = uri;
      img.alt = '';
      img.addEventListener('click', () => openImage(row));
      td.append(img);
    }
    return td;
  }

  function draw() {
    const table = document.createElement('table');
    const body = document.createElement('tbody');
    const start = state.page * PAGE;
    for (const row of state.rows.slice(start, start + PAGE)) {
      const tr = document.createElement('tr');
      tr.dataset.row = row;
      if (data.pictured) tr.append(pictureCell(row));
      for (const column of data.columns) tr.append(cell(column, row));
      body.append(tr);
    }
    table.append(head(), body);
    document.getElementById('table').replaceChildren(table);
    drawPages();
  }

  function drawPages() {
    const last = Math.max(0, Math.ceil(state.rows.length / PAGE) - 1);
    const turn = (text, to) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = text;
      button.disabled = to < 0 || to > last || last === 0;
      button.addEventListener('click', () => { state.page = to; draw(); });
      return button;
    };
    const where = document.createElement('span');
    where.textContent = `page ${state.page + 1} of ${last + 1}`;
    document.getElementById('pages').replaceChildren(
      turn('First', state.page ? 0 : -1), turn('Previous', state.page - 1),
      where, turn('Next', state.page + 1));
  }

  function update() {
    const all = Array.from({length: data.rows}, (_, row) => row);
    state.rows = all.filter(passes).sort(compare);
    state.page = 0;
    const right = columns.outcome.values;
    const hits = state.rows.filter((row) => right[row] === 'right').length;
    document.getElementById('count').textContent =
      `${state.rows.length} of ${data.rows} images, ${hits} of them right`;
    draw();
  }

  function setFilters(filters) {
    state.filters = filters;
    showFilters(data, filters);
    update();
  }

  drawFilters(data, (filters) => { state.filters = filters; update(); });
  update();
  return {setFilters, columns, rows: () => state.rows};
}

function drawFilters(data, changed) {
  const form = document.getElementById('filter');
  for (const column of data.columns) {
    const set = document.createElement('fieldset');
    const legend = document.createElement('legend');
    legend.textContent = column.title;
    set.append(legend);
    if (column.kind === 'text') {
      const select = document.createElement('select');
      select.name = column.name;
      select.setAttribute('aria-label', column.title);
      const values = [...new Set(column.values)].sort(
        (a, b) => a.localeCompare(b, 'en', {numeric: true}));
      select.append(new Option('any', '*'));
      for (const value of values) select.append(new Option(value || '(none)', value));
      set.append(select);
    } else if (column.kind === 'search') {
      const input = document.createElement('input');
      input.name = column.name;
      input.placeholder = 'part of it';
      input.setAttribute('aria-label', `${column.title}, part of it`);
      set.append(input);
    } else {
      for (const end of ['from', 'to']) {
        const input = document.createElement('input');
        input.name = `${column.name} ${end}`;
        input.placeholder = end;
        input.inputMode = 'decimal';
        input.setAttribute('aria-label', `${column.title}, ${end}`);
        set.append(input);
      }
    }
    form.append(set);
  }
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('input', () => changed(readFilters(data, form)));
}

function readFilters(data, form) {
  const filters = {};
  for (const {name, kind} of data.columns) {
    if (kind === 'text') {
      if (form.elements[name].value !== '*') filters[name] = form.elements[name].value;
      continue;
    }
    if (kind === 'search') {
      const part = form.elements[name].value.trim();
      if (part) filters[name] = part;
      continue;
    }
    const scale = kind === 'share' ? 0.01 : 1; // shares are typed in percent
    const [from, to] = ['from', 'to'].map((end) => form.elements[`${name} ${end}`].value.trim());
    if (!from && !to) continue;
    filters[name] = {
      from: from ? Number(from) * scale : -Infinity,
      to: to ? Number(to) * scale : Infinity,
    };
  }
  return filters;
}

function showFilters(data, filters) {
  const form = document.getElementById('filter');
  for (const {name, kind} of data.columns) {
    const wanted = filters[name];
    if (kind === 'text') form.elements[name].value = wanted ?? '*';
    else if (kind === 'search') form.elements[name].value = wanted ?? '';
    else {
      for (const end of ['from', 'to']) {
        const value = wanted?.[end];
        form.elements[`${name} ${end}`].value = Number.isFinite(value) ? value : '';
      }
    }
  }
}
