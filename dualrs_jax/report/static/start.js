// Joins the parts of the page.

function start() {
  const data = readJson('data');
  let table = null;
  const byOutcome = (filters) => {
    if (!table) return;
    table.setFilters(filters);
    document.getElementById('images').scrollIntoView();
  };
  const picked = (name, value) => {
    const first = (field) => value[field]?.[0];
    if (name === 'accuracy' && first('radius') !== undefined) {
      byOutcome({radius: {from: first('radius'), to: Infinity}});
    } else if (name !== 'accuracy') {
      const known = Object.keys(value).filter((field) => table?.columns[field]);
      if (known.length) {
        byOutcome(Object.fromEntries(known.map((field) => [field, first(field)])));
      }
    }
  };
  if (data) {
    data.pictured = Object.values(data.details).some((told) => told.pictures);
    const openImage = makeImageView(data, () => table.rows());
    table = makeTable(data, openImage);
    document.getElementById('clear').addEventListener('click', () => table.setFilters({}));
    for (const button of document.querySelectorAll('[data-radius]')) {
      button.addEventListener('click', () => byOutcome(
        {radius: {from: Number(button.dataset.radius), to: Infinity}}));
    }
    for (const button of document.querySelectorAll('[data-outcome]')) {
      button.addEventListener('click', () => byOutcome({outcome: button.dataset.outcome}));
    }
    const ask = document.getElementById('ask');
    ask.addEventListener('submit', (event) => {
      event.preventDefault();
      const wanted = document.getElementById('ask-image').value.trim();
      let row = table.columns.idx.values.indexOf(wanted === '' ? NaN : Number(wanted));
      if (row < 0 && wanted) {
        row = table.columns.file?.values.findIndex((file) => has(file, wanted)) ?? -1;
      }
      const reply = document.getElementById('ask-answer');
      reply.textContent = row < 0 ? `There is no row of image ${wanted} here.`
        : (data.details[row]?.said ?? ['Its row is in the table.']).join(' ');
      if (row >= 0) openImage(row);
    });
  }
  drawCharts(readJson('charts'), readJson('config'), picked);
}

start();
