/* What the library's files share. */
#ifndef EDGEKWS_INTERNAL_H
#define EDGEKWS_INTERNAL_H

#include "edgekws.h"

/* The only functions of a C library that are used; a bare target brings its own (targets/bare.c). */
void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

#define EK_NO (-1)
#define EK_WORDS(bits) (((bits) + 31u) / 32u)

/* ---- numeric.c: the same bits everywhere */
float ek_exp(float x);                    /* x <= 88; below -87 it is 0 */
float ek_log(float x);                    /* x > 0 */
float ek_log1p(float x);                  /* 0 <= x <= 1 */
float ek_cosine(float x);                 /* 0 <= x <= pi */
float ek_sqrt(float x);
float ek_power_of_two(int exponent);      /* -126 to 127 */
int ek_finite(const float *values, uint32_t count);
float ek_dot(const float *a, const float *b, uint32_t count);
void ek_add(float *sum, const float *row, float factor, uint32_t count);            /* sum += factor * row */
void ek_add4(float *sum, const float *const rows[4], const float factors[4], uint32_t count);
void ek_plus4(float *sum, const float *const rows[4], uint32_t count);              /* the same with factors of 1 */
void ek_softmax(float *values, uint32_t count);                                     /* in place */

/* Row `from` of a matrix: as it lies there, or in `scratch` [to] where it is int8. */
const float *ek_row(const edgekws_matrix *matrix, uint32_t from, float *scratch);
/* sum [to] += values [from] times the matrix; values that are 0 are left out. `scratch` is [4][to]. */
void ek_multiply(float *sum, const edgekws_matrix *matrix, const float *values, float *scratch);
/* The same for spikes, bits [from]. */
void ek_multiply_spikes(float *sum, const edgekws_matrix *matrix, const uint32_t *spikes, float *scratch);

/* ---- frontend.c */
/* Power spectrum of `window` samples in mel bands [mels]; of `work` int32 [2 * size]. In units of squared samples. */
void ek_mel_power(const edgekws_spectrum *of, const int16_t *samples, int32_t *work, float *mel);
/* Place of the second of most energy in a longer recording, among those that begin at multiples of `step`. */
uint32_t ek_loudest(const int16_t *samples, uint32_t count, uint32_t length, uint32_t step);
/* Log-mel frames [frames][mels]: floats, or bytes with what one of them is worth in each band. */
typedef struct {
    const float *f32;
    const uint8_t *bytes;
    const float *unit;
} ek_mel;
const float *ek_mel_row(const ek_mel *mel, uint32_t frame, uint32_t mels, float *scratch);
/* Log-mel frames in place from mel powers, and the deviations [inputs] of them and their differences. Of `scratch`
 * 3 * inputs are needed. */
void ek_log_mel(const edgekws_net *net, float *powers, float *deviation, float *scratch);
/* Features [inputs] of a frame; of `scratch` 2 * inputs are needed. */
void ek_frame(const edgekws_net *net, const ek_mel *mel, const float *deviation, uint32_t frame, float *scratch,
              float *features);

/* ---- spiking.c */
void ek_clear(const edgekws_net *net, edgekws_clip *clip);
/* One step of a hidden layer driven by features, or by the one-hot label `word` where they are NULL: potential, spikes and
 * those before move on, and the trace. clip->delta, where there is one, gets the surrogate derivative; `unreset`, unless it
 * is NULL, the potentials before the reset. */
void ek_hidden(edgekws_model *model, const edgekws_matrix *input, const edgekws_matrix *between, edgekws_clip *clip,
               const float *features, uint32_t word, float *unreset);
/* One step of the readout. */
void ek_integrate(edgekws_model *model, edgekws_clip *clip);
/* Features of a frame of a clip in the reservoir. */
void ek_kept_frame(edgekws_model *model, uint32_t place, uint32_t frame, float *features);

/* ---- learning.c */
void ek_reset_weights(edgekws_model *model);
#endif
