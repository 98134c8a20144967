/* Blocks of neurons that are computed together, spikes as bits, and weights in tiles. */
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define LANES 16

/* As wide as 512 bits of float; narrower machines take a block in several registers. Memory is aligned to 64 bytes. */
typedef REAL block __attribute__((ext_vector_type(LANES), aligned(64)));
typedef _Bool bits16 __attribute__((ext_vector_type(LANES)));
typedef INTEGER mask __attribute__((ext_vector_type(LANES), aligned(64)));

#define LOAD(p, i) (((const block *)(p))[i])
#define STORE(p, i, value) (((block *)(p))[i] = (value))
#define SELECT(m, yes, no) ((m) ? (yes) : (no))
#define ABS(x) __builtin_elementwise_abs(x)

/* The widest tile: what the accumulators of a step leave registers for. */
#ifdef __AVX512F__
#define WIDEST 8
#else
#define WIDEST 4
#endif

/* Numbers too small for a full mantissa count as 0 while a function runs: gradients fade through them, and each costs a hundred
   times a number of ordinary size. */
#ifdef __SSE__
static inline unsigned flush_begin(void) {
  const unsigned before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before | 0x8040);
  return before;
}
static inline void flush_end(unsigned *before) { __builtin_ia32_ldmxcsr(*before); }
#define FLUSH_TINY __attribute__((cleanup(flush_end), unused)) unsigned flushed_ = flush_begin()
#else
#define FLUSH_TINY do {} while (0)
#endif

#define FOR_TILES(padded, j, K, ...) \
  do { \
    int64_t j = 0; \
    for (; j + WIDEST * LANES <= (padded); j += WIDEST * LANES) { enum { K = WIDEST }; __VA_ARGS__ } \
    if (WIDEST > 4 && j + 4 * LANES <= (padded)) { { enum { K = 4 }; __VA_ARGS__ } j += 4 * LANES; } \
    if (j + 2 * LANES <= (padded)) { { enum { K = 2 }; __VA_ARGS__ } j += 2 * LANES; } \
    if (j + LANES <= (padded)) { enum { K = 1 }; __VA_ARGS__ } \
  } while (0)

static inline uint16_t pack_mask(mask m) {
  union { bits16 bits; uint16_t word; } packed = {.bits = __builtin_convertvector(m, bits16)};
  return packed.word;
}

/* Numbers of the spikes of each step, in `events`, and in `ends` where those of each step end. */
static inline void list_events(const uint64_t *bits, int64_t steps, int64_t words, int32_t *events, int32_t *ends) {
  int32_t n = 0;
  for (int64_t t = 0; t < steps; t++) {
    for (int64_t w = 0; w < words; w++)
      for (uint64_t left = bits[t * words + w]; left; left &= left - 1) events[n++] = (int32_t)(w * 64 + __builtin_ctzll(left));
    ends[t] = n;
  }
}

/* The sum of the weight rows of n events, from 0 or, unless `fresh`, onto c. */
static inline __attribute__((always_inline)) void gather(block *c, const int K, const REAL *weights, const int32_t *events,
    int64_t n, const REAL *factor, const int fresh) {
  if (fresh) for (int i = 0; i < K; i++) c[i] = (block)0;
  if (factor) for (int64_t k = 0; k < n; k++) {
    const REAL *row = weights + (int64_t)events[k] * K * LANES, f = factor[events[k]];
    for (int i = 0; i < K; i++) c[i] += f * LOAD(row, i);
  } else for (int64_t k = 0; k < n; k++) {
    const REAL *row = weights + (int64_t)events[k] * K * LANES;
    for (int i = 0; i < K; i++) c[i] += LOAD(row, i);
  }
}

/* The same onto c, of rows `width` apart. */
static inline __attribute__((always_inline)) void gather_wide(block *c, const int K, const REAL *rows, int64_t width,
    const int32_t *events, int64_t n) {
  for (int64_t k = 0; k < n; k++) {
    const REAL *row = rows + events[k] * width;
    for (int i = 0; i < K; i++) c[i] += LOAD(row, i);
  }
}

/* A matrix [neurons, inputs] with rows `stride` apart into tiles, what is padded 0. */
EXPORT void to_tiles(const REAL *matrix, int64_t stride, int64_t neurons, int64_t padded, int64_t inputs, REAL *tiles) {
  FOR_TILES(padded, j, K, {
    for (int64_t n = 0; n < K * LANES; n++) for (int64_t i = 0; i < inputs; i++)
      tiles[inputs * j + i * K * LANES + n] = j + n < neurons ? matrix[(j + n) * stride + i] : 0;
  });
}

/* The sum of `copies` matrices in tiles, in order, into one [neurons, inputs] with rows `stride` apart. */
EXPORT void from_tiles(const REAL *tiles, int64_t copies, int64_t neurons, int64_t padded, int64_t inputs, REAL *matrix,
    int64_t stride) {
  FOR_TILES(padded, j, K, {
    for (int64_t n = 0; n < K * LANES && j + n < neurons; n++) for (int64_t i = 0; i < inputs; i++) {
      REAL sum = 0;
      for (int64_t k = 0; k < copies; k++) sum += tiles[k * padded * inputs + inputs * j + i * K * LANES + n];
      matrix[(j + n) * stride + i] = sum;
    }
  });
}

/* Values [steps, clips, inputs] of which all are 0 or 1 as bits [clips, steps, words]; 0 as soon as one is not. */
EXPORT int64_t pack(const REAL *values, int64_t steps, int64_t clips, int64_t inputs, int64_t words, uint64_t *bits) {
  for (int64_t t = 0; t < steps; t++) for (int64_t clip = 0; clip < clips; clip++) {
    const REAL *row = values + (t * clips + clip) * inputs;
    uint64_t *out = bits + (clip * steps + t) * words;
    for (int64_t w = 0; w < words; w++) {
      uint64_t word = 0, other = 0;
      const int64_t end = inputs - w * 64 < 64 ? inputs - w * 64 : 64;
      for (int64_t i = 0; i < end; i++) {
        const REAL x = row[w * 64 + i];
        word |= (uint64_t)(x == 1) << i;
        other |= !(x == 0 || x == 1);
      }
      if (other) return 0;
      out[w] = word;
    }
  }
  return 1;
}
