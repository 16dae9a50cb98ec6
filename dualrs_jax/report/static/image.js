// The view of one image: pictures, sentences, votes.

function makeImageView(data, rowsShown) {
  const dialog = document.getElementById('image');
  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  function pictures(uris) {
    const box = element('div', undefined, 'pictures');
    uris.forEach((uri, at) => {
      const figure = element('figure');
      const img = element('img');
      img.src = uri;
      img.alt = `the image, ${data.captions[at]}`;
      figure.append(img, element('figcaption', data.captions[at]));
      box.append(figure);
    });
    return box;
  }

  function stage({title, cast, top}) {
    const box = element('div');
    const [selection, estimation] = cast.map((votes) => votes.toLocaleString('en'));
    box.append(element('h3', title));
    box.append(element('p',
      `${selection} votes to select, ${estimation} to estimate; those who got most:`,
      'quiet'));
    const bars = element('div', undefined, 'votes');
    for (const [name, selected, estimated] of top) {
      const bar = element('div', undefined, 'bar');
      bar.style.width = `${100 * estimated / Math.max(1, cast[1])}%`;
      const track = element('div');
      track.append(bar);
      bars.append(element('span', name), track,
        element('span', `${selected} + ${estimated.toLocaleString('en')}`));
    }
    box.append(bars);
    return box;
  }

  function open(row) {
    const column = (name) => data.columns.find((c) => c.name === name);
    const title = element('h2', `Image ${column('idx').values[row]}`);
    title.id = 'image-title';
    title.style.marginTop = 0;
    const parts = [title];
    const file = column('file')?.values[row];
    if (file) parts.push(element('p', file, 'quiet file'));
    const told = data.details[row];
    if (told) {
      parts.push(...told.said.map((text) => element('p', text)));
      if (told.pictures) {
        parts.push(pictures(told.pictures), element('p',
          'With the noise of the first vote, clamped to what a screen can show.', 'quiet'));
      }
      parts.push(...told.votes.map(stage));
    } else {
      const answer = column('answer').values[row] || 'given up';
      parts.push(element('p', `The answer is: ${answer}. Pictures and votes by class`
        + ' of this image are not in this page; rows.tsv has its votes.'));
      for (const shown of data.columns) {
        const text = show(shown, shown.values[row]);
        if (text) parts.push(element('p', `${shown.title}: ${text}`));
      }
    }
    const shown = rowsShown();
    const at = shown.indexOf(row);
    const bar = element('p', undefined, 'row');
    for (const [text, to] of [['Previous', shown[at - 1]], ['Next', shown[at + 1]]]) {
      const button = element('button', text);
      button.type = 'button';
      button.disabled = at < 0 || to === undefined;
      button.addEventListener('click', () => open(to));
      bar.append(button);
    }
    const close = element('button', 'Close');
    close.type = 'button';
    close.addEventListener('click', () => dialog.close());
    bar.append(close);
    dialog.onkeydown = ({key}) => {
      const to = shown[at + {ArrowLeft: -1, ArrowRight: 1}[key]];
      if (at >= 0 && to !== undefined) open(to);
    };
    dialog.replaceChildren(...parts, bar);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  return open;
}
