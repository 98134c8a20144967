/* Dense products of small matrices, and Adam where the product is a gradient. */
#include "lanes.h"

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define FMA(a, b, c) __builtin_elementwise_fma(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

#ifdef __AVX512F__
enum { ROWS = 12, COLUMNS = 2 };
#else
enum { ROWS = 6, COLUMNS = 1 };
#endif

/* Adam's state of a matrix, laid out like it, and the constants of this update (Kingma & Ba 2015; betas 0.9 and 0.999). */
struct adam { REAL *weights, *mean, *square; REAL step, root; };

static inline __attribute__((always_inline)) void update(const struct adam *adam, int64_t at, block g) {
  const block m = LOAD(adam->mean + at, 0) + (REAL)0.1 * (g - LOAD(adam->mean + at, 0));
  const block s = (REAL)0.999 * LOAD(adam->square + at, 0) + (REAL)0.001 * g * g;
  STORE(adam->mean + at, 0, m);
  STORE(adam->square + at, 0, s);
  STORE(adam->weights + at, 0,
        LOAD(adam->weights + at, 0) - adam->step * m / (__builtin_elementwise_sqrt(s) * adam->root + (REAL)1e-8));
}

static inline __attribute__((always_inline)) void product_tile(const int R, const int K, const REAL *a, int64_t row, int64_t step,
    const REAL *b, int64_t width, int64_t depth, REAL *c, int64_t width_c, int64_t at, const int add, const struct adam *adam) {
  block sum[12][2];
  for (int r = 0; r < R; r++) for (int k = 0; k < K; k++) sum[r][k] = add ? LOAD(c + at + r * width_c, k) : (block)0;
  for (int64_t d = 0; d < depth; d++) {
    block right[2];
    for (int k = 0; k < K; k++) right[k] = LOAD(b + d * width, k);
    for (int r = 0; r < R; r++) {
      const block left = (block)a[r * row + d * step];
      for (int k = 0; k < K; k++) sum[r][k] = FMA(left, right[k], sum[r][k]);
    }
  }
  for (int r = 0; r < R; r++) for (int k = 0; k < K; k++) {
    if (adam) update(adam, at + r * width_c + k * LANES, sum[r][k]);
    else STORE(c + at + r * width_c, k, sum[r][k]);
  }
}

static inline __attribute__((always_inline)) void product_panel(const int K, int64_t rows, const REAL *a, int64_t row, int64_t step,
    const REAL *b, int64_t width, int64_t depth, REAL *c, int64_t width_c, int64_t at, const int add, const struct adam *adam) {
  int64_t i = 0;
  for (; i + ROWS <= rows; i += ROWS)
    product_tile(ROWS, K, a + i * row, row, step, b, width, depth, c, width_c, at + i * width_c, add, adam);
  for (; i + 4 <= rows; i += 4)
    product_tile(4, K, a + i * row, row, step, b, width, depth, c, width_c, at + i * width_c, add, adam);
  for (; i < rows; i++)
    product_tile(1, K, a + i * row, row, step, b, width, depth, c, width_c, at + i * width_c, add, adam);
}

/* c [rows, width_c] = (add: +) a b over `columns` (of whole blocks), for b [depth, width] and a's element (r, d) at
   r row + d step; with `adam`, c is the gradient of its weights (laid out like c), and they are updated instead. */
static inline __attribute__((always_inline)) void product(int64_t rows, int64_t columns, int64_t depth, const REAL *a, int64_t row,
    int64_t step, const REAL *b, int64_t width, REAL *c, int64_t width_c, const int add, const struct adam *adam) {
  int64_t j = 0;
  for (; j + COLUMNS * LANES <= columns; j += COLUMNS * LANES)
    product_panel(COLUMNS, rows, a, row, step, b + j, width, depth, c, width_c, j, add, adam);
  for (; j < columns; j += LANES) product_panel(1, rows, a, row, step, b + j, width, depth, c, width_c, j, add, adam);
}
