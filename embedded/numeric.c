/* Arithmetic with the same bits on every target: exponential, logarithm, sums in a fixed order. */
#include "internal.h"

typedef union {
    float value;
    uint32_t bits;
} number;

float ek_power_of_two(int exponent) {
    number power;
    power.bits = (uint32_t)(exponent + 127) << 23;
    return power.value;
}

float ek_sqrt(float x) {
    return __builtin_sqrtf(x);
}

/* exp(x) = 2^n exp(r), |r| <= ln 2 / 2, with the polynomial of Cephes (Moshier): within 2 units in the last place. */
float ek_exp(float x) {
    int n;
    float r, y;
    if (!(x > -87.0f)) {
        return x == x ? 0.0f : x;
    }
    if (x > 88.0f) {
        x = 88.0f;
    }
    n = (int)(x * 1.44269504f + (x < 0 ? -0.5f : 0.5f));
    r = x - (float)n * 0.693359375f;
    r = r - (float)n * -2.12194440e-4f;
    y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
    return y * ek_power_of_two(n);
}

/* log((1 + s) / (1 - s)), |s| <= 1/3, by its series. */
static float log_ratio(float s) {
    float square = s * s, y = 1.0f / 15;
    y = y * square + 1.0f / 13;
    y = y * square + 1.0f / 11;
    y = y * square + 1.0f / 9;
    y = y * square + 1.0f / 7;
    y = y * square + 1.0f / 5;
    y = y * square + 1.0f / 3;
    return 2 * s + 2 * s * (square * y);
}

float ek_log1p(float x) {
    return log_ratio(x / (2.0f + x));
}

float ek_log(float x) {
    number parts;
    int exponent;
    parts.value = x;
    exponent = (int)(parts.bits >> 23) - 127;
    if (exponent == -127) { /* too small for a normal number */
        parts.value = x * 8388608.0f;
        exponent = (int)(parts.bits >> 23) - 127 - 23;
    }
    parts.bits = (parts.bits & 0x007FFFFFu) | 0x3F800000u;
    if (parts.value > 1.41421356f) {
        parts.value *= 0.5f;
        exponent++;
    }
    return (float)exponent * 0.693359375f
           + (log_ratio((parts.value - 1.0f) / (parts.value + 1.0f)) + (float)exponent * -2.12194440e-4f);
}

float ek_cosine(float x) {
    float square, y, sign = 1;
    if (x > 1.57079633f) {
        x = 3.14159265f - x;
        sign = -1;
    }
    square = x * x;
    y = 2.0876757e-9f;
    y = y * square - 2.7557319e-7f;
    y = y * square + 2.4801587e-5f;
    y = y * square - 1.3888889e-3f;
    y = y * square + 4.1666667e-2f;
    y = y * square - 0.5f;
    return sign * (1.0f + y * square);
}

int ek_finite(const float *values, uint32_t count) {
    uint32_t i;
    for (i = 0; i < count; i++) {
        number value;
        value.value = values[i];
        if ((value.bits & 0x7F800000u) == 0x7F800000u) {
            return 0;
        }
    }
    return 1;
}

float ek_dot(const float *a, const float *b, uint32_t count) {
    float lane[8] = {0};
    uint32_t i, k;
    for (i = 0; i + 8 <= count; i += 8) {
        for (k = 0; k < 8; k++) {
            lane[k] += a[i + k] * b[i + k];
        }
    }
    for (k = 0; i < count; i++, k++) {
        lane[k] += a[i] * b[i];
    }
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

void ek_add(float *restrict sum, const float *restrict row, float factor, uint32_t count) {
    uint32_t i;
    for (i = 0; i < count; i++) {
        sum[i] += factor * row[i];
    }
}

/* Four rows at a time: the sum is loaded and stored once, its order is as if they came one by one. */
void ek_add4(float *restrict sum, const float *const rows[4], const float factors[4], uint32_t count) {
    const float *restrict a = rows[0], *restrict b = rows[1], *restrict c = rows[2], *restrict d = rows[3];
    const float p = factors[0], q = factors[1], r = factors[2], s = factors[3];
    uint32_t i;
    for (i = 0; i < count; i++) {
        sum[i] = (((sum[i] + p * a[i]) + q * b[i]) + r * c[i]) + s * d[i];
    }
}

void ek_plus4(float *restrict sum, const float *const rows[4], uint32_t count) {
    const float *restrict a = rows[0], *restrict b = rows[1], *restrict c = rows[2], *restrict d = rows[3];
    uint32_t i;
    for (i = 0; i < count; i++) {
        sum[i] = (((sum[i] + a[i]) + b[i]) + c[i]) + d[i];
    }
}

void ek_softmax(float *values, uint32_t count) {
    float largest = values[0], total = 0;
    uint32_t i;
    for (i = 1; i < count; i++) {
        if (values[i] > largest) {
            largest = values[i];
        }
    }
    for (i = 0; i < count; i++) {
        values[i] = ek_exp(values[i] - largest);
        total += values[i];
    }
    for (i = 0; i < count; i++) {
        values[i] /= total;
    }
}

const float *ek_row(const edgekws_matrix *matrix, uint32_t from, float *scratch) {
    const int8_t *integers;
    uint32_t i;
    if (matrix->f32) {
        return matrix->f32 + (size_t)from * matrix->to;
    }
    integers = matrix->i8 + (size_t)from * matrix->to;
    for (i = 0; i < matrix->to; i++) {
        scratch[i] = (float)integers[i] * matrix->scale[i];
    }
    return scratch;
}

void ek_multiply(float *sum, const edgekws_matrix *matrix, const float *values, float *scratch) {
    const float *rows[4];
    float factors[4];
    uint32_t i, held = 0;
    for (i = 0; i < matrix->from; i++) {
        if (values[i] == 0) {
            continue;
        }
        rows[held] = ek_row(matrix, i, scratch + held * matrix->to);
        factors[held++] = values[i];
        if (held == 4) {
            ek_add4(sum, rows, factors, matrix->to);
            held = 0;
        }
    }
    for (i = 0; i < held; i++) {
        ek_add(sum, rows[i], factors[i], matrix->to);
    }
}

void ek_multiply_spikes(float *sum, const edgekws_matrix *matrix, const uint32_t *spikes, float *scratch) {
    const float *rows[4];
    uint32_t word, bit, i, held = 0;
    for (word = 0; word < EK_WORDS(matrix->from); word++) {
        for (bit = 0; spikes[word] >> bit; bit++) {
            if (!(spikes[word] >> bit & 1)) {
                continue;
            }
            rows[held] = ek_row(matrix, 32 * word + bit, scratch + held * matrix->to);
            if (++held == 4) {
                ek_plus4(sum, rows, matrix->to);
                held = 0;
            }
            if (bit == 31) {
                break; /* a shift by 32 is not defined */
            }
        }
    }
    for (i = 0; i < held; i++) {
        ek_add(sum, rows[i], 1.0f, matrix->to);
    }
}
