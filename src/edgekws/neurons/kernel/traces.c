/* Training by Traces Propagation in its prototype form, an Adam update at each time step, over one batch of clips: what
   PrototypeRule and ReadoutRule of edgekws.methods.traces_propagation.rule compute, step by step, with Adam.

   Matrices are [from, to] here, the neurons padded to a multiple of LANES: recurrent input and the gradients of recurrent weights
   are sums of rows over what fired, and a gradient goes into Adam from registers, without ever being stored. */
#include "product.h"

struct traces {
  int64_t clips, steps, inputs, neurons, padded, outputs, padded_outputs, recurrent, soft, hidden;
  REAL leak, trace_leak, output_leak, threshold, scale;
  const REAL *features;     /* [clips, steps, inputs] */
  const int64_t *labels;    /* [clips] */
  const REAL *counts;       /* [padded_outputs] clips of each class */
  REAL *weights, *weights_mean, *weights_square; /* [inputs (+ neurons), padded] */
  REAL *readout, *readout_mean, *readout_square; /* [neurons, padded_outputs] */
  const REAL *prototypes;   /* [steps, outputs, padded] traces of the target path */
  const REAL *across;       /* [steps, neurons, padded_outputs]: the same, transposed */
  const REAL *other;        /* [steps]: what a pair of two classes weighs beside one of the same, exp(-distance) */
  const REAL *step, *root;  /* [steps]: learning rate / (1 - 0.9^n), 1 / sqrt(1 - 0.999^n) of update n */
  /* room, all of it zero at first */
  REAL *potential, *trace, *current, *derivative; /* [clips, padded] */
  REAL *readout_potential, *error, *factor;       /* [clips, padded_outputs] */
  int32_t *events, *fired;  /* [clips, neurons]; [clips] how many */
  int32_t *lists, *lengths; /* [neurons, clips] which clips a neuron fired in; [neurons] how many */
};

static inline block exponential(block x) { /* to the last digit or so, for x <= 0; of more as of 0 */
  const REAL least = sizeof(REAL) == 4 ? (REAL)-80 : (REAL)-700;
  x = SELECT(x < (block)least, (block)least, SELECT(x > (block)0, (block)0, x));
  const block n = __builtin_elementwise_rint(x * (REAL)1.4426950408889634074);
  const block r = (x - n * (REAL)0.693145751953125) - n * (REAL)1.42860682030941723212e-6;
  block power = (block)0;
  REAL factorial[14];
  factorial[0] = 1;
  for (int k = 1; k < 14; k++) factorial[k] = factorial[k - 1] / (REAL)k;
  for (int k = 13; k >= 0; k--) power = power * r + factorial[k];
  const mask exponent = __builtin_convertvector(n, mask) + (sizeof(REAL) == 4 ? 127 : 1023);
  union { mask integer; block real; } two = {.integer = exponent << (sizeof(REAL) == 4 ? 23 : 52)};
  return power * two.real;
}

/* Of one clip: n_c exp(z_c) / sum into z. Classes of n_c = 0, padding too, may have any z. */
static inline void softmax(REAL *z, const REAL *n, int64_t size) {
  REAL largest = -__builtin_inf(), sum = 0;
  for (int64_t c = 0; c < size; c++) if (n[c] > 0 && z[c] > largest) largest = z[c];
  for (int64_t c = 0; c < size; c += LANES) STORE(z + c, 0, LOAD(n + c, 0) * exponential(LOAD(z + c, 0) - largest));
  for (int64_t c = 0; c < size; c++) sum += z[c];
  for (int64_t c = 0; c < size; c += LANES) STORE(z + c, 0, LOAD(z + c, 0) / sum);
}

static inline __attribute__((always_inline)) void fire_tile(const struct traces *l, int64_t clip, int64_t j, const int K,
    uint16_t *bits) {
  block c[8];
  const int64_t at = clip * l->padded + j;
  for (int i = 0; i < K; i++) c[i] = LOAD(l->current + at, i);
  if (l->recurrent)
    gather_wide(c, K, l->weights + l->inputs * l->padded + j, l->padded, l->events + clip * l->neurons, l->fired[clip]);
  for (int i = 0; i < K; i++) {
    const block u = l->leak * LOAD(l->potential + at, i) + c[i], d = (u - l->threshold) * (REAL)3.14159265358979323846;
    if (l->hidden) STORE(l->derivative + at, i, l->scale / (1 + d * d));
    const mask fired = u >= l->threshold;
    STORE(l->potential + at, i, l->soft ? SELECT(fired, u - l->threshold, u) : SELECT(fired, (block)0, u));
    STORE(l->trace + at, i, l->trace_leak * LOAD(l->trace + at, i) + SELECT(fired, (block)1, (block)0));
    bits[i] = pack_mask(fired);
  }
}

EXPORT void learn(const struct traces *given, uint16_t *bits /* [clips, padded / LANES] */, const REAL *ones /* [padded_outputs] */) {
  FLUSH_TINY;
  const struct traces here = *given, *l = &here;
  const int64_t features = l->steps * l->inputs;
  for (int64_t t = 0; t < l->steps; t++) {
    const struct adam readout = {l->readout, l->readout_mean, l->readout_square, l->step[t], l->root[t]};
    const REAL *x = l->features + t * l->inputs;
    if (l->hidden && l->recurrent) { /* who fired in the step before: presynaptic in this one */
      for (int64_t k = 0; k < l->neurons; k++) l->lengths[k] = 0;
      for (int64_t clip = 0; clip < l->clips; clip++) for (int32_t n = 0; n < l->fired[clip]; n++) {
        const int32_t k = l->events[clip * l->neurons + n];
        l->lists[k * l->clips + l->lengths[k]++] = (int32_t)clip;
      }
    }
    product(l->clips, l->padded, l->inputs, x, features, 1, l->weights, l->padded, l->current, l->padded, 0, 0);
    /* Tile by tile over all clips: a tile's weights stay in the cache. */
    FOR_TILES(l->padded, j, K, {
      for (int64_t clip = 0; clip < l->clips; clip++) fire_tile(l, clip, j, K, bits + (clip * l->padded + j) / LANES);
    });
    for (int64_t clip = 0; clip < l->clips; clip++) {
      int32_t n = 0, *events = l->events + clip * l->neurons;
      for (int64_t j = 0; j < l->padded; j += LANES)
        for (unsigned left = bits[(clip * l->padded + j) / LANES]; left; left &= left - 1)
          if (j + __builtin_ctz(left) < l->neurons) events[n++] = (int32_t)(j + __builtin_ctz(left));
      l->fired[clip] = n;
      /* the readout and its error */
      REAL *m = l->readout_potential + clip * l->padded_outputs, *e = l->error + clip * l->padded_outputs;
      for (int64_t c = 0; c < l->padded_outputs; c += LANES) {
        block sum = l->output_leak * LOAD(m + c, 0);
        gather_wide(&sum, 1, l->readout + c, l->padded_outputs, events, n);
        STORE(m + c, 0, sum);
        STORE(e + c, 0, sum);
      }
      softmax(e, ones, l->padded_outputs);
      e[l->labels[clip]] -= 1;
      for (int64_t c = 0; c < l->padded_outputs; c += LANES) STORE(e + c, 0, LOAD(e + c, 0) / (REAL)l->clips);
    }
    if (l->hidden) {
      product(l->clips, l->padded_outputs, l->neurons, l->trace, l->padded, 1, l->across + t * l->neurons * l->padded_outputs,
              l->padded_outputs, l->factor, l->padded_outputs, 0, 0);
      for (int64_t clip = 0; clip < l->clips; clip++) {
        REAL *f = l->factor + clip * l->padded_outputs;
        softmax(f, l->counts, l->padded_outputs);
        const int64_t own = l->labels[clip];
        const REAL all = l->other[t] * ((REAL)l->clips - l->counts[own]) + l->counts[own], by = l->other[t] / all;
        /* By itself: of one class alone both are 1, and nothing is to be left of rounding, which Adam would take for a gradient. */
        const REAL mine = (f[own] - l->counts[own] / all) / (REAL)l->clips;
        for (int64_t c = 0; c < l->padded_outputs; c += LANES)
          STORE(f + c, 0, (LOAD(f + c, 0) - LOAD(l->counts + c, 0) * by) / (REAL)l->clips);
        f[own] = mine;
      }
      product(l->clips, l->padded, l->outputs, l->factor, l->padded_outputs, 1, l->prototypes + t * l->outputs * l->padded,
              l->padded, l->current, l->padded, 0, 0);
      for (int64_t i = 0; i < l->clips * l->padded; i += LANES)
        STORE(l->current + i, 0, LOAD(l->current + i, 0) * LOAD(l->derivative + i, 0));
      const struct adam input = {l->weights, l->weights_mean, l->weights_square, l->step[t], l->root[t]};
      product(l->inputs, l->padded, l->clips, x, 1, features, l->current, l->padded, 0, l->padded, 0, &input);
      if (l->recurrent) FOR_TILES(l->padded, j, K, {
        for (int64_t k = 0; k < l->neurons; k++) {
          block g[8];
          for (int i = 0; i < K; i++) g[i] = (block)0;
          gather_wide(g, K, l->current + j, l->padded, l->lists + k * l->clips, l->lengths[k]);
          for (int i = 0; i < K; i++) update(&input, (l->inputs + k) * l->padded + j + i * LANES, g[i]);
        }
      });
    }
    product(l->neurons, l->padded_outputs, l->clips, l->trace, 1, l->padded, l->error, l->padded_outputs, 0, l->padded_outputs, 0,
            &readout);
  }
}
