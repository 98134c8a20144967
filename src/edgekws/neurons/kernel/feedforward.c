/* Feed-forward LIF layers, driven by events: what edgekws.neurons.scan computes, where no work is done for a spike that
   did not happen. A sweep over a clip adds the weight rows of the inputs that fired, integrates and fires; the way back
   scans the clip in reverse and adds to the gradient's rows of those inputs alone.

   REAL is float or double. Nothing here is threaded: the caller gives each thread clips of its own, and room of its own for
   sums over clips, so that results depend on the number of threads and on nothing else. Neurons are padded to a multiple of
   LANES; tiles of them are as wide as registers can hold, and one tile's weights lie together, [inputs, width of the tile]. */
#include "lanes.h"

struct layer {
  int64_t clips, steps, neurons, padded, inputs, words_in, words_out, soft, adaptive;
  const uint64_t *in;      /* [clips, steps, words_in] spikes from below; NULL: `current` is given */
  const REAL *factor_in;   /* [clips, inputs] factors on them (dropout), or NULL */
  const REAL *weights;     /* tiles of [inputs, width] */
  REAL *current;           /* [clips, steps, padded] W s; NULL: not kept */
  const REAL *scale;       /* [padded] of the current, or NULL for 1 */
  const REAL *shift;       /* [padded] added to it */
  uint64_t *out;           /* [clips, steps, words_out] spikes; NULL: currents alone */
  REAL *theta;             /* [clips or 1, steps] thresholds; written where they are adaptive */
  int64_t theta_stride;    /* from one clip to the next */
  REAL *count;             /* [clips, padded] spikes in a clip */
  REAL *pooled;            /* [clips, padded] spikes weighted by step, or NULL */
  const REAL *pool;        /* [steps] those weights */
  REAL gain, leak, threshold, slope;
  REAL target, gamma, decay, low, high; /* threshold (1 + gamma (target - activity)), clamped */
  /* the way back */
  const REAL *spike_gradient;  /* [clips, steps, padded], or NULL */
  const REAL *factor_out;      /* [clips, padded] on that gradient, or NULL */
  const REAL *count_gradient;  /* [clips, padded], or NULL */
  const REAL *pooled_gradient; /* [clips, padded], or NULL */
  REAL *gradient;              /* [clips, steps, padded] of the current; may be `current` itself */
  const REAL *centre;          /* [padded]: where moments of the current are wanted, what it is centred on; else NULL */
};

/* One step of one tile: spikes of K blocks from their input x; v is the potential after the reset. */
#define FIRE(u, theta, soft, v) \
  ({ mask fired_ = (u) > (theta); \
     (v) = (soft) ? SELECT(fired_, (u) - (theta), (u)) : SELECT(fired_, (block)0, (u)); \
     fired_; })

static inline __attribute__((always_inline)) void forward_tile(const struct layer *layer, int64_t clip, int64_t j, const int K,
    const int32_t *events, const int32_t *ends) {
  const struct layer here = *layer, *l = &here; /* in registers: what is stored cannot change it */
  block v[8];
  const REAL *weights = l->weights + l->inputs * j, *theta = l->theta + clip * l->theta_stride;
  REAL *count = l->count + clip * l->padded + j, *pooled = l->pooled ? l->pooled + clip * l->padded + j : 0;
  for (int i = 0; i < K; i++) v[i] = (block)0;
  for (int64_t t = 0; t < l->steps; t++) {
    const int64_t row = clip * l->steps + t;
    block c[8];
    if (l->in) {
      gather(c, K, weights, events + (t ? ends[t - 1] : 0), ends[t] - (t ? ends[t - 1] : 0),
             l->factor_in ? l->factor_in + clip * l->inputs : 0, 1);
      if (l->current) for (int i = 0; i < K; i++) STORE(l->current + row * l->padded + j, i, c[i]);
    } else for (int i = 0; i < K; i++) c[i] = LOAD(l->current + row * l->padded + j, i);
    if (!l->out) continue;
    uint16_t *bits = (uint16_t *)(l->out + row * l->words_out) + j / LANES;
    for (int i = 0; i < K; i++) {
      block x = (l->scale ? c[i] * LOAD(l->scale + j, i) : c[i]) + LOAD(l->shift + j, i);
      block u = (x - v[i]) * l->gain + v[i];
      mask fired = FIRE(u, theta[t], l->soft, v[i]);
      bits[i] = pack_mask(fired);
      STORE(count, i, SELECT(fired, LOAD(count, i) + 1, LOAD(count, i)));
      if (pooled) STORE(pooled, i, SELECT(fired, LOAD(pooled, i) + l->pool[t], LOAD(pooled, i)));
    }
  }
}

/* The same step by step over the whole layer, since the next threshold depends on all its neurons. */
static void forward_adaptive(const struct layer *l, int64_t clip, const int32_t *events, const int32_t *ends, REAL *v) {
  REAL activity = l->target, *theta = l->theta + clip * l->theta_stride;
  theta[0] = l->threshold;
  for (int64_t j = 0; j < l->padded; j++) v[j] = 0;
  for (int64_t t = 0; t < l->steps; t++) {
    const int64_t row = clip * l->steps + t;
    uint16_t *bits = (uint16_t *)(l->out + row * l->words_out);
    int64_t fired_here = 0;
    FOR_TILES(l->padded, j, K, {
      block c[8];
      if (l->in) {
        gather(c, K, l->weights + l->inputs * j, events + (t ? ends[t - 1] : 0), ends[t] - (t ? ends[t - 1] : 0),
               l->factor_in ? l->factor_in + clip * l->inputs : 0, 1);
        if (l->current) for (int i = 0; i < K; i++) STORE(l->current + row * l->padded + j, i, c[i]);
      } else for (int i = 0; i < K; i++) c[i] = LOAD(l->current + row * l->padded + j, i);
      for (int i = 0; i < K; i++) {
        block x = (l->scale ? c[i] * LOAD(l->scale + j, i) : c[i]) + LOAD(l->shift + j, i), before = LOAD(v + j, i);
        block u = (x - before) * l->gain + before, after;
        mask fired = FIRE(u, theta[t], l->soft, after);
        STORE(v + j, i, after);
        bits[j / LANES + i] = pack_mask(fired);
        fired_here += __builtin_popcount(bits[j / LANES + i]);
        REAL *count = l->count + clip * l->padded + j, *pooled = l->pooled ? l->pooled + clip * l->padded + j : 0;
        STORE(count, i, SELECT(fired, LOAD(count, i) + 1, LOAD(count, i)));
        if (pooled) STORE(pooled, i, SELECT(fired, LOAD(pooled, i) + l->pool[t], LOAD(pooled, i)));
      }
    });
    if (t + 1 == l->steps) break;
    activity = l->decay * activity + (1 - l->decay) * ((REAL)fired_here / (REAL)l->neurons);
    REAL by = 1 + l->gamma * (l->target - activity);
    theta[t + 1] = l->threshold * (by < l->low ? l->low : by > l->high ? l->high : by);
  }
}

/* Currents, spikes and sums of the clips from `first` to before `last`.
   Room: events, at least steps x inputs + steps, and `state`, padded. */
EXPORT void forward(const struct layer *l, int64_t first, int64_t last, int32_t *events, REAL *state) {
  FLUSH_TINY;
  int32_t *ends = events + l->steps * l->inputs;
  for (int64_t clip = first; clip < last; clip++) {
    if (l->in) list_events(l->in + clip * l->steps * l->words_in, l->steps, l->words_in, events, ends);
    if (l->adaptive && l->out) forward_adaptive(l, clip, events, ends, state);
    else FOR_TILES(l->padded, j, K, { forward_tile(l, clip, j, K, events, ends); });
  }
}

/* Mean of the current of each neuron over steps and clips, and the sum of squares about it: into `mean` and `squares`, [padded],
   in double. Clip by clip and then together (Chan et al. 1983): no digits are lost where the mean is large. */
EXPORT void moments(const struct layer *l, int64_t first, int64_t last, double *mean, double *squares) {
  for (int64_t j = 0; j < l->padded; j++) mean[j] = squares[j] = 0;
  for (int64_t clip = first; clip < last; clip++) {
    const REAL *current = l->current + clip * l->steps * l->padded;
    const double n = (double)(l->steps * (clip - first)), m = (double)l->steps;
    for (int64_t j = 0; j < l->padded; j += LANES) {
      block sum = (block)0, about = (block)0;
      for (int64_t t = 0; t < l->steps; t++) sum += LOAD(current + t * l->padded + j, 0);
      const block centre = sum / (REAL)l->steps;
      for (int64_t t = 0; t < l->steps; t++) { block d = LOAD(current + t * l->padded + j, 0) - centre; about += d * d; }
      for (int i = 0; i < LANES; i++) {
        const double apart = (double)centre[i] - mean[j + i];
        squares[j + i] += (double)about[i] + apart * apart * n * m / (n + m);
        mean[j + i] += apart * m / (n + m);
      }
    }
  }
}

static inline __attribute__((always_inline)) void spread(REAL *sums, const block *g, const int K, const int32_t *events,
    int64_t n, const REAL *factor) {
  for (int64_t k = 0; k < n; k++) {
    REAL *row = sums + (int64_t)events[k] * K * LANES;
    if (factor) { const REAL f = factor[events[k]]; for (int i = 0; i < K; i++) STORE(row, i, LOAD(row, i) + f * g[i]); }
    else for (int i = 0; i < K; i++) STORE(row, i, LOAD(row, i) + g[i]);
  }
}

static inline __attribute__((always_inline)) void backward_tile(const struct layer *layer, int64_t clip, int64_t j, const int K,
    const int32_t *events, const int32_t *ends, REAL *potential, REAL *weight_sums, REAL *sum, REAL *moment) {
  const struct layer here = *layer, *l = &here; /* in registers: what is stored cannot change it */
  block v[8];
  const REAL *theta = l->theta + clip * l->theta_stride, *factor_in = l->factor_in ? l->factor_in + clip * l->inputs : 0;
  REAL *current = l->current + clip * l->steps * l->padded + j, *gradient = l->gradient + clip * l->steps * l->padded + j;
  const REAL *from_above = l->spike_gradient ? l->spike_gradient + clip * l->steps * l->padded + j : 0;
  for (int i = 0; i < K; i++) v[i] = (block)0;
  for (int64_t t = 0; t < l->steps; t++) for (int i = 0; i < K; i++) {
    block c = LOAD(current + t * l->padded, i);
    block x = (l->scale ? c * LOAD(l->scale + j, i) : c) + LOAD(l->shift + j, i);
    block u = (x - v[i]) * l->gain + v[i];
    (void)FIRE(u, theta[t], l->soft, v[i]);
    STORE(potential + t * K * LANES, i, u);
  }
  block sums[8], moments[8], always[8], pooled[8]; /* sums of this clip: long ones lose fewer digits in parts */
  for (int i = 0; i < K; i++) {
    v[i] = sums[i] = moments[i] = (block)0; /* v from here on: gradient of the potential after the reset */
    always[i] = l->count_gradient ? LOAD(l->count_gradient + clip * l->padded + j, i) : (block)0;
    pooled[i] = l->pooled_gradient ? LOAD(l->pooled_gradient + clip * l->padded + j, i) : (block)0;
  }
  for (int64_t t = l->steps; t-- > 0;) {
    block g[8];
    const REAL pool = l->pooled_gradient ? l->pool[t] : 0, at = theta[t];
    for (int i = 0; i < K; i++) g[i] = pool * pooled[i] + always[i];
    if (from_above && l->factor_out)
      for (int i = 0; i < K; i++) g[i] += LOAD(from_above + t * l->padded, i) * LOAD(l->factor_out + clip * l->padded + j, i);
    else if (from_above) for (int i = 0; i < K; i++) g[i] += LOAD(from_above + t * l->padded, i);
    for (int i = 0; i < K; i++) {
      const block u = LOAD(potential + t * K * LANES, i), d = u - at, q = 1 + l->slope * ABS(d);
      const block spike = g[i] - v[i] * (l->soft ? (block)at : u); /* its own, and that of the reset it causes */
      const block of_u = spike / (q * q) + (l->soft ? v[i] : SELECT(d > (block)0, (block)0, v[i]));
      v[i] = l->leak * of_u;
      g[i] = l->gain * of_u;
      sums[i] += g[i];
    }
    if (l->centre) for (int i = 0; i < K; i++)
      moments[i] += g[i] * (LOAD(current + t * l->padded, i) - LOAD(l->centre + j, i));
    for (int i = 0; i < K; i++) STORE(gradient + t * l->padded, i, g[i]);
    if (weight_sums)
      spread(weight_sums + l->inputs * j, g, K, events + (t ? ends[t - 1] : 0), ends[t] - (t ? ends[t - 1] : 0), factor_in);
  }
  for (int i = 0; i < K; i++) {
    STORE(sum + j, i, LOAD(sum + j, i) + sums[i]);
    if (l->centre) STORE(moment + j, i, LOAD(moment + j, i) + moments[i]);
  }
}

/* Gradients of the current, and added to `sum`, `moment` (where `centre` is given) and `weight_sums` (in tiles; may be NULL) the
   sums over clips and steps of g, g (current - centre) and g s.
   Room: events as in forward; `potential`, steps x the widest tile. */
EXPORT void backward(const struct layer *l, int64_t first, int64_t last, int32_t *events, REAL *potential, REAL *weight_sums,
    REAL *sum, REAL *moment) {
  FLUSH_TINY;
  int32_t *ends = events + l->steps * l->inputs;
  for (int64_t clip = first; clip < last; clip++) {
    if (weight_sums) list_events(l->in + clip * l->steps * l->words_in, l->steps, l->words_in, events, ends);
    FOR_TILES(l->padded, j, K, { backward_tile(l, clip, j, K, events, ends, potential, weight_sums, sum, moment); });
  }
}

static inline __attribute__((always_inline)) void normalised_tile(const struct layer *layer, int64_t clip, int64_t j, const int K,
    const int32_t *events, const int32_t *ends, const REAL *by, const REAL *slope, const REAL *shift, REAL *weight_sums) {
  const struct layer here = *layer, *l = &here;
  const REAL *current = l->current + clip * l->steps * l->padded + j, *factor_in = l->factor_in ? l->factor_in + clip * l->inputs : 0;
  REAL *gradient = l->gradient + clip * l->steps * l->padded + j;
  for (int64_t t = 0; t < l->steps; t++) {
    block g[8];
    for (int i = 0; i < K; i++) {
      g[i] = LOAD(by + j, i) * LOAD(gradient + t * l->padded, i) + LOAD(slope + j, i) * LOAD(current + t * l->padded, i)
             + LOAD(shift + j, i);
      STORE(gradient + t * l->padded, i, g[i]);
    }
    if (weight_sums)
      spread(weight_sums + l->inputs * j, g, K, events + (t ? ends[t - 1] : 0), ends[t] - (t ? ends[t - 1] : 0), factor_in);
  }
}

/* Back through a normalisation, whose gradient is g <- by g + slope current + shift, [padded] each, once the sums over all clips
   are known. */
EXPORT void backward_normalised(const struct layer *l, int64_t first, int64_t last, int32_t *events, const REAL *by,
    const REAL *slope, const REAL *shift, REAL *weight_sums) {
  FLUSH_TINY;
  int32_t *ends = events + l->steps * l->inputs;
  for (int64_t clip = first; clip < last; clip++) {
    if (weight_sums) list_events(l->in + clip * l->steps * l->words_in, l->steps, l->words_in, events, ends);
    FOR_TILES(l->padded, j, K, { normalised_tile(l, clip, j, K, events, ends, by, slope, shift, weight_sums); });
  }
}
