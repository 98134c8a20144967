// The page itself: microphone, recordings, what is shown. What computes is in worker.js.
'use strict';

const RATE = 16000, TAKE = RATE, HEAR_EVERY = 250, QUIET = 0.006;
const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const {dataset, ...rest} = properties, element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
};
const decoded = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const source = (text) => URL.createObjectURL(new Blob([text], {type: 'text/javascript'}));

// ---------------------------------------------------------------------------------------------------------- the worker
const worker = new Worker(source(DATA.worker)), waiting = new Map();
worker.onmessage = ({data: {id, result, error, share}}) => {
  const {done, failed, told} = waiting.get(id);
  if (share !== undefined) return told?.(share);
  waiting.delete(id);
  error === undefined ? done(result) : failed(new Error(error));
};
const ask = (verb, given, told) => new Promise((done, failed) => {
  const id = ask.last = (ask.last ?? 0) + 1;
  waiting.set(id, {done, failed, told});
  worker.postMessage({id, verb, given});
});

// ---------------------------------------------------------------------------------------------------------- what is kept
let words = [], busy = false, learnt = false;
const takes = new Map();  // of each word's number: [Int16Array]
const heldBack = (place, count) => count < 3 ? place === 1 : place % 3 === 2;
const clips = (held) => [...takes].flatMap(([word, all]) =>
  all.flatMap((samples, place) => heldBack(place, all.length) === held ? [{word, samples}] : []));

// ---------------------------------------------------------------------------------------------------------- microphone
const microphone = {context: null, ring: null, at: 0};

async function useMicrophone() {
  const state = $('microphone-state');
  if (!navigator.mediaDevices?.getUserMedia) {
    state.textContent = 'This browser gives no page on a disk a microphone: open the page from a local server, or in another browser.';
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({audio: {
      channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false}});
  } catch (error) {
    state.textContent = {
      NotAllowedError: 'The microphone was denied: allow it for this page (beside the address), then press again.',
      NotFoundError: 'There is no microphone here: plug one in, then press again.',
      NotReadableError: 'Another program holds the microphone: close it, then press again.',
    }[error.name] ?? `The microphone does not work: ${error.message}`;
    return;
  }
  const context = new AudioContext();
  // Not as a blob: a page on a disk may load none into a worklet.
  await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(DATA.worklet)}`);
  const tap = new AudioWorkletNode(context, 'tap', {numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit'});
  microphone.context = context;
  microphone.ring = new Float32Array(Math.ceil(4 * context.sampleRate));
  tap.port.onmessage = ({data}) => {
    for (const sample of data) microphone.ring[microphone.at++ % microphone.ring.length] = sample;
  };
  context.createMediaStreamSource(stream).connect(tap);
  stream.getTracks()[0].onended = () => { state.textContent = 'The microphone was unplugged: press again.'; };
  const rate = context.sampleRate;
  state.textContent = rate === RATE ? 'listening' : `listening; ${rate.toLocaleString('en')} samples a second are brought to 16,000`;
  $('microphone').disabled = true;
  $('live').hidden = false;
  setTimeout(() => {
    if (microphone.loudest < 1e-5) state.textContent = 'The microphone is silent: is it muted, or another one chosen?';
  }, 3000);
  setInterval(hear, HEAR_EVERY);
  for (const button of document.querySelectorAll('[data-record]')) button.disabled = false;
}

// The last seconds of sound, at the microphone's rate.
function latest(seconds) {
  const {ring, at, context} = microphone, count = Math.min(Math.round(seconds * context.sampleRate), ring.length);
  return Float32Array.from({length: count}, (_, n) => ring[(at - count + n + ring.length * 2) % ring.length]);
}

const loudness = (samples) => Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);

async function hear() {
  const recent = latest(0.25), level = loudness(recent);
  microphone.loudest = Math.max(microphone.loudest ?? 0, level);
  $('level').value = Math.min(1, 4 * level);
  if (busy || hear.running) return;
  hear.running = true;
  try {
    const window = latest(1);
    if (loudness(window) < QUIET) {
      show('quiet', null);
    } else {
      const samples = await ask('record', {samples: window, rate: microphone.context.sampleRate});
      const {word, potentials} = await ask('predict', {samples});
      show(words[word] ?? 'none of them', potentials);
    }
  } catch (error) {
    show(error.message, null);
  } finally {
    hear.running = false;
  }
}

function show(heard, potentials) {
  if ($('heard').textContent !== heard) $('heard').textContent = heard;
  const highest = potentials ? Math.max(...potentials) : 0;
  const shares = potentials ? [...potentials].map((value) => Math.exp(value - highest)) : [];
  const sum = shares.reduce((a, b) => a + b, 0) || 1;
  words.forEach((_, n) => { $('bars').children[2 * n + 1].firstChild.style.width = `${100 * (shares[n] ?? 0) / sum}%`; });
}

// ---------------------------------------------------------------------------------------------------------- recordings
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function record(word) {
  if (busy) return;
  busy = true;
  refresh();
  try {
    for (const count of ['3', '2', '1']) {
      $('cue').textContent = `“${words[word]}” in ${count}`;
      await pause(500);
    }
    $('cue').textContent = `Say it now: “${words[word]}”`;
    await pause(2000);
    const sound = await ask('record', {samples: latest(2), rate: microphone.context.sampleRate});
    const {samples, problem, remark} = trimmed(sound);
    if (problem) {
      $('cue').textContent = problem;
      return;
    }
    takes.get(word).push(samples);
    $('cue').textContent = `Take ${takes.get(word).length} of “${words[word]}” is kept.${remark}`;
  } catch (error) {
    $('cue').textContent = error.message;
  } finally {
    busy = false;
    refresh();
  }
}

// The loudest second of a recording, or why it is of no use.
function trimmed(sound) {
  const mean = sound.reduce((sum, sample) => sum + sample, 0) / sound.length;
  let energy = 0, best = -1, from = 0;
  const squares = Float64Array.from(sound, (sample) => (sample - mean) ** 2);
  for (let n = 0; n < sound.length; n++) {
    energy += squares[n] - (n >= TAKE ? squares[n - TAKE] : 0);
    if (n >= TAKE - 1 && energy > best) [best, from] = [energy, n - TAKE + 1];
  }
  // Silence moves the loudest second nowhere: put the sound's own middle into the middle.
  let weight = 0, middle = 0;
  for (let n = from; n < from + TAKE; n++) { weight += squares[n]; middle += n * squares[n]; }
  from = Math.max(0, Math.min(sound.length - TAKE, Math.round(middle / (weight || 1) - TAKE / 2)));
  const samples = sound.slice(from, from + TAKE);
  if (Math.sqrt(best / TAKE) < 32768 * QUIET) return {problem: 'Nothing was heard: come closer, or check the microphone. Not kept.'};
  const clipped = samples.filter((sample) => Math.abs(sample) >= 32767).length / TAKE;
  return {samples, remark: clipped > 0.001 ? ' It is too loud and distorted: better record it again from further away.' : ''};
}

function play(samples) {
  play.context ??= microphone.context ?? new AudioContext();
  const buffer = play.context.createBuffer(1, samples.length, RATE), node = play.context.createBufferSource();
  buffer.copyToChannel(Float32Array.from(samples, (sample) => sample / 32768), 0);
  node.buffer = buffer;
  node.connect(play.context.destination);
  node.start();
}

function wave(samples) {
  const columns = 50, size = Math.floor(samples.length / columns), highest = samples.reduce((a, b) => Math.max(a, Math.abs(b)), 1);
  const path = Array.from({length: columns}, (_, n) => {
    const height = 14 * samples.subarray(n * size, (n + 1) * size).reduce((a, b) => Math.max(a, Math.abs(b)), 0) / highest;
    return `M${n + 0.5} ${15 - height}V${15 + height}`;
  }).join('');
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg'), line = document.createElementNS(svg.namespaceURI, 'path');
  svg.setAttribute('viewBox', `0 0 ${columns} 30`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  line.setAttribute('d', path);
  svg.append(line);
  return svg;
}

function refresh() {
  for (const row of $('takes').children) {
    const word = Number(row.dataset.word), all = takes.get(word);
    row.firstChild.disabled = busy || !microphone.context;
    row.replaceChildren(row.firstChild, ...all.map((samples, place) => {
      const held = heldBack(place, all.length), name = `take ${place + 1} of ${words[word]}`;
      return make('span', {className: held ? 'take held' : 'take', title: held ? 'held back to test with' : 'to learn from'},
                  make('button', {onclick: () => play(samples), ariaLabel: `Replay ${name}${held ? ', held back' : ''}`}, wave(samples)),
                  make('button', {onclick: () => { all.splice(place, 1); refresh(); }, disabled: busy, ariaLabel: `Delete ${name}`}, '×'));
    }));
  }
  const any = [...takes.values()].some((all) => all.length);
  const ready = [...takes.values()].filter((all) => all.length > 1).length > 1;
  $('save-recordings').disabled = busy || !any;
  $('learn').disabled = busy || !ready;
  $('undo').disabled = $('save-delta').disabled = busy || !learnt;
}

// ---------------------------------------------------------------------------------------------------------- learning
async function learn() {
  busy = true;
  refresh();
  const held = clips(true), support = clips(false);
  $('progress').hidden = false;
  try {
    const told = await ask('learn', {support, held, budget: DATA.budget}, (share) => { $('progress').value = share; });
    const right = (heard) => heard.filter((word, n) => word === held[n].word).length;
    const [before, after] = [right(told.before), right(told.after)];
    $('outcome').textContent = `It learnt from ${support.length} recordings in ${told.seconds.toFixed(1)} s, in ` +
      `${(told.arena / 1048576).toFixed(1)} MiB. Of ${held.length} held back it knew ${before} before and knows ${after} now` +
      `${held.length < 20 ? '; so few tell little' : ''}.`;
    const columns = ordered([...held.map(({word}) => word), ...told.before, ...told.after]);
    $('matrices').replaceChildren(matrix('Before', held, told.before, columns), matrix('After', held, told.after, columns));
    learnt = true;
  } catch (error) {
    $('outcome').textContent = error.message;
  } finally {
    busy = false;
    $('progress').hidden = true;
    refresh();
  }
}

const ordered = (numbers) => [...new Set(numbers)].sort((a, b) => a - b);

function matrix(title, held, heard, columns) {
  const said = ordered(held.map(({word}) => word));
  const count = (word, other) => held.filter((clip, n) => clip.word === word && heard[n] === other).length;
  return make('table', {},
    make('caption', {}, `${title}: said, and what it heard`),
    make('thead', {}, make('tr', {}, make('td'), ...columns.map((word) => make('th', {scope: 'col'}, words[word] ?? '–')))),
    make('tbody', {}, ...said.map((word) => make('tr', {}, make('th', {scope: 'row'}, words[word]), ...columns.map((other) =>
      make('td', {className: !count(word, other) ? '' : word === other ? 'right' : 'wrong'}, count(word, other) || ''))))));
}

async function undo() {
  await ask('undo');
  learnt = false;
  $('outcome').textContent = 'It is the base model again; the recordings are still here.';
  $('matrices').replaceChildren();
  refresh();
}

// ---------------------------------------------------------------------------------------------------------- files
function save(name, content) {
  const link = make('a', {download: name, href: URL.createObjectURL(new Blob([content]))});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const put = (at, text) => [...text].forEach((character, n) => view.setUint8(at + n, character.charCodeAt(0)));
  put(0, 'RIFF'); view.setUint32(4, 36 + 2 * samples.length, true); put(8, 'WAVEfmt ');
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, 2 * RATE, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  put(36, 'data'); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, n) => view.setInt16(44 + 2 * n, sample, true));
  return new Uint8Array(view.buffer);
}

function crc32(content) {
  let crc = ~0;
  for (const byte of content) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc >>> 0;
}

// A zip of stored files: [[name, bytes]].
function zip(files) {
  const parts = [], directory = [], utf8 = new TextEncoder();
  let offset = 0;
  for (const [name, content] of files) {
    const title = utf8.encode(name), common = new DataView(new ArrayBuffer(26));
    [[0, 20], [2, 0x800], [4, 0], [6, 0], [8, 0x21]].forEach(([at, value]) => common.setUint16(at, value, true));
    [[10, crc32(content)], [14, content.length], [18, content.length]].forEach(([at, value]) => common.setUint32(at, value, true));
    common.setUint16(22, title.length, true);
    parts.push(Uint8Array.of(80, 75, 3, 4), common, title, content);
    const place = new DataView(new ArrayBuffer(14));
    place.setUint32(10, offset, true);
    directory.push(Uint8Array.of(80, 75, 1, 2, 20, 0), common, place, title);
    offset += 30 + title.length + content.length;
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0), end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054B50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end]);
}

const recordings = () => zip([...takes].flatMap(([word, all]) => all.map((samples, n) => [`${words[word]}/${n + 1}.wav`, wav(samples)])));

// Recordings of a zip that this page wrote; what is passed over is told.
async function open(file) {
  const content = new Uint8Array(await file.arrayBuffer()), view = new DataView(content.buffer), passed = [];
  let at = 0, kept = 0;
  while (at + 30 <= content.length && view.getUint32(at, true) === 0x04034B50) {
    const size = view.getUint32(at + 18, true), title = view.getUint16(at + 26, true), from = at + 30 + title + view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(content.subarray(at + 30, at + 30 + title)), word = words.indexOf(name.split('/').at(-2));
    const plain = view.getUint16(at + 8, true) === 0 && size === 44 + 2 * TAKE && from + size <= content.length;
    if (plain && word >= 0 && view.getUint32(from + 24, true) === RATE) {
      takes.get(word).push(Int16Array.from({length: TAKE}, (_, n) => view.getInt16(from + 44 + 2 * n, true)));
      kept++;
    } else if (!name.endsWith('/')) {
      passed.push(name);
    }
    at = from + size;
  }
  $('cue').textContent = `${kept} recordings opened.` + (passed.length ? ` Passed over, since they are no takes of these words that ` +
    `this page saved: ${passed.slice(0, 3).join(', ')}${passed.length > 3 ? ` and ${passed.length - 3} more` : ''}.` : '');
  refresh();
}

// ---------------------------------------------------------------------------------------------------------- beginning
(async () => {
  $('model').textContent = DATA.about;
  try {
    ({words} = await ask('open', {wasm: decoded(DATA.wasm).buffer, image: decoded(DATA.image).buffer}));
  } catch (error) {
    $('microphone-state').textContent = `This browser cannot run the model: ${error.message}`;
    return;
  }
  $('words').textContent = words.join(', ');
  words.forEach((word, n) => {
    takes.set(n, []);
    $('takes').append(make('li', {dataset: {word: n}}, make('button', {dataset: {record: n}, disabled: true, onclick: () => record(n)}, word)));
    $('bars').append(make('span', {}, word), make('span', {}, make('i')));
  });
  $('microphone').onclick = useMicrophone;
  $('learn').onclick = learn;
  $('undo').onclick = undo;
  $('save-recordings').onclick = () => save('recordings.zip', recordings());
  $('save-delta').onclick = async () => save('mine.safetensors', await ask('delta', {precision: 0}));
  $('open-recordings').onchange = ({target}) => target.files[0] && open(target.files[0]).then(() => { target.value = ''; });
  refresh();
})();
