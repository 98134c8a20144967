/* A layer of LIF neurons with recurrent weights: what edgekws.neurons.lif and, with its surrogate, norse_twin compute.

   u^t = leak v^{t-1} + x^t + R s^{t-1}; recurrent input is the sum of R's rows (laid out [from, to]) of what fired, and so is R's
   gradient. Back in time the gradient itself is dense: one product with R a step. */
#include "product.h"

struct recurrent {
  int64_t clips, steps, neurons, padded, inputs, words_in, words_out, soft, strict;
  REAL *current;            /* [clips, steps, padded] x; becomes u where `keep`; then the gradient of x */
  const uint64_t *in;       /* [clips, steps, words_in] spikes from below, which add to x; or NULL */
  const REAL *features;     /* [clips, steps, inputs] real input that gives x in place of `current`, or NULL */
  const REAL *weights;      /* [inputs, padded] of spikes from below or of features, or NULL */
  const REAL *onto;         /* [neurons, padded] R, [from, to]; NULL: feed-forward */
  const REAL *back;         /* [neurons, padded] R, [to, from] */
  const REAL *theta;        /* [padded] */
  uint64_t *out;            /* [clips, steps, words_out] */
  REAL *spikes;             /* [clips, steps, padded], or NULL */
  REAL *pooled;             /* [clips, padded] spikes weighted by step, or NULL */
  const REAL *pool;         /* [steps] */
  REAL leak, slope;
  int64_t keep;
  const REAL *spike_gradient;  /* [clips, steps, padded], or NULL */
  const REAL *pooled_gradient; /* [clips, padded], or NULL */
};

static inline __attribute__((always_inline)) void advance(const struct recurrent *l, int64_t clip, int64_t t, int64_t j, const int K,
    const REAL *x, const int32_t *below, int64_t n_below, const int32_t *events, int64_t n, REAL *v) {
  const int64_t row = clip * l->steps + t;
  block u[8];
  for (int i = 0; i < K; i++) u[i] = x ? LOAD(x + t * l->padded + j, i) : (block)0;
  if (l->in) gather_wide(u, K, l->weights + j, l->padded, below, n_below);
  if (l->onto) gather_wide(u, K, l->onto + j, l->padded, events, n);
  uint16_t *bits = (uint16_t *)(l->out + row * l->words_out) + j / LANES;
  for (int i = 0; i < K; i++) {
    u[i] = l->leak * LOAD(v + j, i) + u[i];
    const block theta = LOAD(l->theta + j, i);
    const mask fired = l->strict ? u[i] > theta : u[i] >= theta;
    STORE(v + j, i, l->soft ? SELECT(fired, u[i] - theta, u[i]) : SELECT(fired, (block)0, u[i]));
    if (l->keep) STORE(l->current + row * l->padded + j, i, u[i]);
    const block s = SELECT(fired, (block)1, (block)0);
    if (l->spikes) STORE(l->spikes + row * l->padded + j, i, s);
    if (l->pooled) {
      REAL *pooled = l->pooled + clip * l->padded + j;
      STORE(pooled, i, LOAD(pooled, i) + l->pool[t] * s);
    }
    bits[i] = pack_mask(fired);
  }
}

/* The clips from `first` to before `last`. Room: events, inputs + neurons; `state`, padded; `room`, steps x padded, with features. */
EXPORT void forward(const struct recurrent *given, int64_t first, int64_t last, int32_t *events, REAL *state, REAL *room) {
  FLUSH_TINY;
  const struct recurrent here = *given, *l = &here;
  int32_t *below = events + l->neurons, ends, ends_below;
  for (int64_t clip = first; clip < last; clip++) {
    const REAL *x = l->features ? room : l->current ? l->current + clip * l->steps * l->padded : 0;
    if (l->features)
      product(l->steps, l->padded, l->inputs, l->features + clip * l->steps * l->inputs, l->inputs, 1, l->weights, l->padded, room,
              l->padded, 0, 0);
    for (int64_t j = 0; j < l->padded; j++) state[j] = 0;
    for (int64_t t = 0; t < l->steps; t++) {
      ends = ends_below = 0;
      if (t && l->onto) list_events(l->out + (clip * l->steps + t - 1) * l->words_out, 1, l->words_out, events, &ends);
      if (l->in) list_events(l->in + (clip * l->steps + t) * l->words_in, 1, l->words_in, below, &ends_below);
      FOR_TILES(l->padded, j, K, { advance(l, clip, t, j, K, x, below, ends_below, events, ends, state); });
    }
  }
}

static inline __attribute__((always_inline)) void back_tile(const struct recurrent *l, int64_t clip, int64_t t, int64_t j, const int K,
    const int32_t *events, int64_t n, const REAL *next, REAL *after, REAL *sums, REAL *theta_sum) {
  REAL *potential = l->current + (clip * l->steps + t) * l->padded + j;
  block g[8];
  for (int i = 0; i < K; i++) g[i] = next ? LOAD(next + j, i) : (block)0;
  if (l->spike_gradient) for (int i = 0; i < K; i++)
    g[i] += LOAD(l->spike_gradient + (clip * l->steps + t) * l->padded + j, i);
  if (l->pooled_gradient) for (int i = 0; i < K; i++)
    g[i] += l->pool[t] * LOAD(l->pooled_gradient + clip * l->padded + j, i);
  for (int i = 0; i < K; i++) {
    const block u = LOAD(potential, i), theta = LOAD(l->theta + j, i), v = LOAD(after + j, i), d = u - theta;
    const block q = 1 + l->slope * ABS(d);
    const mask fired = l->strict ? d > (block)0 : d >= (block)0;
    const block through = (g[i] - v * (l->soft ? theta : u)) / (q * q);
    if (theta_sum)
      STORE(theta_sum + j, i, LOAD(theta_sum + j, i) - through - (l->soft ? SELECT(fired, v, (block)0) : (block)0));
    g[i] = through + (l->soft ? v : SELECT(fired, (block)0, v));
    STORE(after + j, i, l->leak * g[i]);
    STORE(potential, i, g[i]);
  }
  for (int64_t k = 0; k < n; k++) {
    REAL *row = sums + events[k] * l->padded + j;
    for (int i = 0; i < K; i++) STORE(row, i, LOAD(row, i) + g[i]);
  }
}

/* The gradient of x in place of the potentials; added to `sums` [neurons, padded] ([from, to]; NULL without R) that of R, and
   to `theta_sum` [padded], unless NULL, that of the thresholds. Room, zero at first: `next` and `after`, [last - first, padded];
   events, neurons. */
EXPORT void backward(const struct recurrent *given, int64_t first, int64_t last, int32_t *events, REAL *next, REAL *after, REAL *sums,
    REAL *theta_sum) {
  FLUSH_TINY;
  const struct recurrent here = *given, *l = &here;
  const int64_t clips = last - first, row = l->steps * l->padded;
  for (int64_t t = l->steps; t-- > 0;) {
    const int come = l->back && t + 1 < l->steps;
    if (come)
      product(clips, l->padded, l->neurons, l->current + first * row + (t + 1) * l->padded, row, 1, l->back, l->padded, next,
              l->padded, 0, 0);
    for (int64_t clip = first; clip < last; clip++) {
      int32_t n = 0;
      if (t && l->back) list_events(l->out + (clip * l->steps + t - 1) * l->words_out, 1, l->words_out, events, &n);
      const int64_t at = (clip - first) * l->padded;
      FOR_TILES(l->padded, j, K, { back_tile(l, clip, t, j, K, events, n, come ? next + at : 0, after + at, sums, theta_sum); });
    }
  }
}
