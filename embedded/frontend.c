/* From samples to features: spectrum, mel bands, log-mel frames with their differences (edgekws.features.logmel).
 *
 * The spectrum is taken in whole numbers of 32 bits with a common exponent (block floating point). That is as fast on a core
 * without a double-precision unit as on one with it, gives the same bits on both, and rounds more finely than single precision:
 * a band that stays 90 dB below the loudest one is divided by its own deviation later, and shows every rounding. */
#include "internal.h"

typedef struct {
    int32_t re, im;
} complex_int;

static int32_t rounded(int64_t product, int bits) {
    return (int32_t)((product + ((int64_t)1 << (bits - 1))) >> bits);
}

/* exp(-2 pi i k / size), k < size; 2^30 is 1. */
static complex_int root(const edgekws_spectrum *of, uint32_t k) {
    const uint32_t quarter = k >= of->size / 4 ? k - of->size / 4 : k + of->size - of->size / 4;
    const complex_int found = {of->cosines[k], -of->cosines[quarter]};
    return found;
}

static complex_int times(complex_int a, complex_int b) {
    complex_int product;
    product.re = rounded((int64_t)a.re * b.re - (int64_t)a.im * b.im, 30);
    product.im = rounded((int64_t)a.re * b.im + (int64_t)a.im * b.re, 30);
    return product;
}

static uint32_t larger(uint32_t seen, int32_t value) {
    const uint32_t magnitude = (uint32_t)(value < 0 ? -(value + 1) : value);
    return magnitude > seen ? magnitude : seen;
}

/* Of at most 40 bits: rounded once. */
static float to_float(int64_t value) {
    return (float)(int32_t)(value >> 16) * 65536.0f + (float)(int32_t)(value & 0xFFFF);
}

/* One stage of Stockham's transform: blocks of `radix` values, `stride` apart in the result. Its inputs are shifted right by
 * `shift`, so that sums keep below 2^31; returns the largest magnitude of what comes out. */
static uint32_t stage(const edgekws_spectrum *of, const complex_int *from, complex_int *to, uint32_t count, uint32_t stride,
                      uint32_t radix, int shift) {
    const uint32_t blocks = count / radix, turn = of->size / count;
    uint32_t p, q, j, k, seen = 0;
    complex_int a[5], roots[5], turns[5], sum;
    for (k = 0; k < radix; k++) {
        roots[k] = root(of, k * (of->size / radix));
    }
    for (p = 0; p < blocks; p++) {
        for (j = 0; j < radix; j++) {
            turns[j] = root(of, j * p * turn); /* less than size: j < radix, p < count / radix */
        }
        for (q = 0; q < stride; q++) {
            for (k = 0; k < radix; k++) {
                a[k] = from[q + stride * (p + blocks * k)];
                if (shift) {
                    a[k].re = rounded(a[k].re, shift);
                    a[k].im = rounded(a[k].im, shift);
                }
            }
            for (j = 0; j < radix; j++) {
                complex_int *out = to + q + stride * (radix * p + j);
                sum = a[0];
                if (radix == 2) {
                    sum.re += j ? -a[1].re : a[1].re;
                    sum.im += j ? -a[1].im : a[1].im;
                } else if (radix == 4 && j % 2 == 0) {
                    sum.re += a[2].re + (j ? -(a[1].re + a[3].re) : a[1].re + a[3].re);
                    sum.im += a[2].im + (j ? -(a[1].im + a[3].im) : a[1].im + a[3].im);
                } else if (radix == 4) { /* factors 1, -i, -1, i, or their conjugates */
                    const int32_t re = a[1].im - a[3].im, im = a[3].re - a[1].re;
                    sum.re += (j == 1 ? re : -re) - a[2].re;
                    sum.im += (j == 1 ? im : -im) - a[2].im;
                } else {
                    for (k = 1; k < radix; k++) {
                        const complex_int part = times(a[k], roots[j * k % radix]);
                        sum.re += part.re;
                        sum.im += part.im;
                    }
                }
                *out = j && p ? times(sum, turns[j]) : sum;
                seen = larger(seen, out->re);
                seen = larger(seen, out->im);
            }
        }
    }
    return seen;
}

/* Bits by which values up to `seen` must be shifted so that sums of `radix` of them, turned, keep below 2^31. */
static int headroom(uint32_t seen, uint32_t radix) {
    const uint32_t most = radix == 2 ? 0x2D000000u : radix == 3 ? 0x1E000000u : radix == 4 ? 0x16000000u : 0x12000000u;
    int shift = 0;
    while (seen >> shift > most) {
        shift++;
    }
    return shift;
}

void ek_mel_power(const edgekws_spectrum *of, const int16_t *samples, int32_t *work, float *mel) {
    complex_int *from = (complex_int *)work, *to = from + of->size / 2, *swap;
    const uint32_t before = (of->size - of->window) / 2, points = of->size / 2;
    const float *filter = of->filters;
    uint32_t i, n, largest = 0, seen = 0, count = points, stride = 1, band;
    int exponent = 0, shift;
    float unit;

    for (i = 0; i < of->window; i++) {
        const int32_t value = samples[i];
        const uint32_t magnitude = (uint32_t)(value < 0 ? -value : value);
        largest = magnitude > largest ? magnitude : largest;
    }
    memset(mel, 0, of->mels * sizeof(float));
    if (!largest) {
        return;
    }
    while (largest << exponent < 0x4000) { /* the first bits of the samples would be empty */
        exponent++;
    }
    memset(from, 0, points * sizeof(complex_int));
    for (i = 0; i < of->window; i++) {
        work[before + i] = rounded((int64_t)((int32_t)samples[i] * ((int32_t)1 << exponent)) * of->hann[i], 17);
    }
    exponent = -13 - exponent; /* the value is work * 2^exponent */
    seen = 0x10000000u;
    for (n = 0; of->radices[n]; n++) {
        shift = headroom(seen, of->radices[n]);
        seen = stage(of, from, to, count, stride, of->radices[n], shift);
        exponent += shift;
        count /= of->radices[n];
        stride *= of->radices[n];
        swap = from;
        from = to;
        to = swap;
    }
    unit = ek_power_of_two(2 * exponent - 2); /* what follows is twice the spectrum */

    /* Even samples are the real parts, odd ones the imaginary parts: taken apart, the latter turned, and added. */
    for (band = 0; band < of->mels; band++) {
        const uint32_t first = of->bands[2 * band], bins = of->bands[2 * band + 1];
        float sum = 0;
        for (i = 0; i < bins; i++) {
            const uint32_t k = first + i;
            const complex_int z = from[k < points ? k : 0], y = from[k && k < points ? points - k : 0], w = root(of, k);
            const int64_t even_re = (int64_t)z.re + y.re, even_im = (int64_t)z.im - y.im;
            const int64_t odd_re = (int64_t)z.im + y.im, odd_im = (int64_t)y.re - z.re;
            const float re = to_float(even_re + ((odd_re * w.re - odd_im * w.im + (1 << 29)) >> 30));
            const float im = to_float(even_im + ((odd_im * w.re + odd_re * w.im + (1 << 29)) >> 30));
            sum += *filter++ * (re * re + im * im);
        }
        mel[band] = sum * unit;
    }
}

uint32_t ek_loudest(const int16_t *samples, uint32_t count, uint32_t length, uint32_t step) {
    uint64_t energy = 0, most;
    uint32_t i, k, best = 0;
    for (i = 0; i < length; i++) {
        energy += (uint32_t)((int32_t)samples[i] * samples[i]);
    }
    most = energy;
    for (i = step; i + length <= count; i += step) {
        for (k = i - step; k < i; k++) {
            energy += (uint32_t)((int32_t)samples[k + length] * samples[k + length]);
            energy -= (uint32_t)((int32_t)samples[k] * samples[k]);
        }
        if (energy > most) {
            most = energy;
            best = i;
        }
    }
    return best;
}

const float *ek_mel_row(const ek_mel *mel, uint32_t frame, uint32_t mels, float *scratch) {
    const uint8_t *bytes;
    uint32_t band;
    if (mel->f32) {
        return mel->f32 + frame * mels;
    }
    bytes = mel->bytes + frame * mels;
    for (band = 0; band < mels; band++) {
        scratch[band] = (float)bytes[band] * mel->unit[band];
    }
    return scratch;
}

/* Log-mel values and their first and second differences over `width` frames, [3][mels], of a frame; then `mels` of scratch. */
static void differences(const edgekws_net *net, const ek_mel *mel, uint32_t frame, float *values) {
    const uint32_t half = net->width / 2, mels = net->spectrum.mels, last = net->frames - net->width;
    const uint32_t first = frame < half ? 0 : frame - half > last ? last : frame - half;
    const uint32_t row = frame < half ? frame : frame - half > last ? frame - last : half;
    const float *taps = net->differences + row * 2 * net->width;
    float *scratch = values + 3 * mels;
    uint32_t order, i;
    memcpy(values, ek_mel_row(mel, frame, mels, scratch), mels * sizeof(float));
    memset(values + mels, 0, 2 * mels * sizeof(float));
    for (order = 1; order < 3; order++) {
        for (i = 0; i < net->width; i++) {
            ek_add(values + order * mels, ek_mel_row(mel, first + i, mels, scratch), *taps++, mels);
        }
    }
}

void ek_log_mel(const edgekws_net *net, float *powers, float *deviation, float *scratch) {
    const uint32_t inputs = net->inputs, values = net->frames * net->spectrum.mels;
    const ek_mel mel = {powers, NULL, NULL};
    float *mean = scratch + 2 * inputs, largest = 0;
    uint32_t i, frame;
    for (i = 0; i < values; i++) {
        largest = powers[i] > largest ? powers[i] : largest;
    }
    for (i = 0; i < values; i++) {
        powers[i] = ek_log1p(largest > 0 ? powers[i] / largest : 0.0f);
    }
    memset(mean, 0, inputs * sizeof(float));
    for (frame = 0; frame < net->frames; frame++) {
        differences(net, &mel, frame, scratch);
        ek_add(mean, scratch, 1.0f, inputs);
    }
    for (i = 0; i < inputs; i++) {
        mean[i] /= (float)net->frames;
        deviation[i] = 0;
    }
    for (frame = 0; frame < net->frames; frame++) {
        differences(net, &mel, frame, scratch);
        for (i = 0; i < inputs; i++) {
            const float from_mean = scratch[i] - mean[i];
            deviation[i] += from_mean * from_mean;
        }
    }
    for (i = 0; i < inputs; i++) {
        const float found = ek_sqrt(deviation[i] / (float)net->frames);
        deviation[i] = found > 0 ? found : 1.0f;
    }
}

void ek_frame(const edgekws_net *net, const ek_mel *mel, const float *deviation, uint32_t frame, float *scratch,
              float *features) {
    uint32_t i;
    differences(net, mel, frame, scratch);
    for (i = 0; i < net->inputs; i++) {
        features[i] = scratch[i] / deviation[i] / net->scale[i];
    }
}
