// The C library at work, beside the page: everything that computes. Asks nothing of a network.
'use strict';

const RATE = 16000;
let ekw, audio, potentials, arena = {at: 0, size: 0};

const bytes = () => new Uint8Array(ekw.memory.buffer);
const text = (at) => new TextDecoder().decode(bytes().subarray(at, bytes().indexOf(0, at)));
const check = (status) => {
  if (status < 0) throw new Error(text(ekw.ekw_message(status)));
  return status;
};

function room(size) {
  const at = ekw.ekw_room(size) >>> 0;
  if (!at) throw new Error('no memory left: close other pages and open this one again');
  return at;
}

function put(typed, at = room(typed.byteLength)) {
  bytes().set(new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength), at);
  return at;
}

// Rooms are never given back, so that a larger arena is taken for good.
function start(clips) {
  const size = ekw.ekw_needs(clips, 0, 0, 0, 0) >>> 0;
  if (!size) throw new Error(`${clips} recordings do not fit`);
  if (size > arena.size) arena = {at: room(size), size};
  check(ekw.ekw_start(clips, 0, 0, 0, 0, arena.at, size));
}

function predict(samples) {
  put(samples, audio);
  check(ekw.ekw_hear(audio, samples.length));
  const word = check(ekw.ekw_predict(potentials));
  return {word, potentials: new Float32Array(ekw.memory.buffer, potentials, ekw.ekw_fact(5)).slice()};
}

// A windowed sinc, cut off below half of the slower rate; 32 zero crossings on either side.
function resample(samples, from) {
  if (from === RATE) return samples;
  const step = from / RATE, cutoff = 0.95 * Math.min(1, 1 / step), reach = 32 / cutoff;
  const out = new Float32Array(Math.floor(samples.length / step));
  for (let i = 0; i < out.length; i++) {
    const centre = i * step;
    let sum = 0;
    for (let k = Math.max(0, Math.ceil(centre - reach)); k <= Math.min(samples.length - 1, Math.floor(centre + reach)); k++) {
      const x = k - centre, angle = Math.PI * cutoff * x;
      const sinc = x === 0 ? 1 : Math.sin(angle) / angle;
      sum += samples[k] * cutoff * sinc * (0.5 + 0.5 * Math.cos(Math.PI * x / reach));
    }
    out[i] = sum;
  }
  return out;
}

function pcm(floats) {
  const from = put(floats, pcm.floats), to = pcm.integers;
  check(ekw.ekw_pcm(from, floats.length, to));
  return new Int16Array(ekw.memory.buffer, to, floats.length).slice();
}

const verbs = {
  async open({wasm, image}) {
    ekw = (await WebAssembly.instantiate(wasm)).instance.exports;
    check(ekw.ekw_open(put(new Uint8Array(image)), image.byteLength));
    audio = room(4 * RATE * 4);
    pcm.floats = room(4 * RATE * 8);
    pcm.integers = room(2 * RATE * 8);
    potentials = room(4 * ekw.ekw_fact(5));
    start(0);
    return {words: Array.from({length: ekw.ekw_fact(6)}, (_, n) => text(ekw.ekw_word(n))), samples: ekw.ekw_fact(1)};
  },

  // 16-bit samples at 16 kHz of at most eight seconds of sound at any rate.
  record: ({samples, rate}) => pcm(resample(samples, rate)),

  predict: ({samples}) => predict(samples),

  // Learn from `support`, starting at the base; what is heard in `held` before and after. Clips: {word, samples}.
  async learn({support, held, budget}, tell) {
    start(support.length);
    const before = held.map(({samples}) => predict(samples).word);
    for (const {word, samples} of support) {
      put(samples, audio);
      check(ekw.ekw_hear(audio, samples.length));
      check(ekw.ekw_keep(word, 0xFFFFFFFF));
    }
    const began = performance.now(), batch = Math.min(budget.batch, support.length);
    check(ekw.ekw_learn(budget.rate, budget.epochs, batch, budget.seed));
    const steps = budget.epochs * Math.ceil(support.length / batch) * ekw.ekw_fact(2);
    for (let step = 0; check(ekw.ekw_learn_step()); step++) {
      if (step % 25 === 0) tell(Math.min(1, step / steps));
    }
    return {before, after: held.map(({samples}) => predict(samples).word), seconds: (performance.now() - began) / 1000,
            arena: arena.size};
  },

  undo: () => check(ekw.ekw_undo()),

  delta({precision}) {
    const size = ekw.ekw_delta_bytes(precision) >>> 0, at = room(size);
    check(ekw.ekw_save(precision, at, size));
    return bytes().slice(at, at + size);
  },

  weights: () => [0, 1, 2].map((n) => new Float32Array(ekw.memory.buffer, ekw.ekw_weights(n), ekw.ekw_weights_count(n)).slice()),
};

onmessage = async ({data: {id, verb, given}}) => {
  try {
    postMessage({id, result: await verbs[verb](given ?? {}, (share) => postMessage({id, share}))});
  } catch (error) {
    postMessage({id, error: error.message});
  }
};
