// Draws the charts where their places are seen, and tells what was clicked.

function readJson(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

function drawCharts(specs, config, picked) {
  const draw = async (place) => {
    if (place.dataset.drawn) return;
    place.dataset.drawn = 'yes';
    const name = place.dataset.chart;
    const spec = {
      $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
      width: 'container',
      autosize: {type: 'fit-x', contains: 'padding'},
      ...specs[name],
    };
    const options = {config, renderer: 'svg', actions: false};
    const {view} = await vegaEmbed(place, spec, options);
    place.vegaView = view;
    if (JSON.stringify(spec).includes('"picked"')) {
      view.addSignalListener('picked', (_, value) => picked(name, value));
    }
    place.dataset.drawn = 'done';
  };
  for (const place of document.querySelectorAll('.chart')) {
    const folded = place.closest('details');
    if (!folded || folded.open) draw(place);
    else folded.addEventListener('toggle', () => draw(place));
  }
}
