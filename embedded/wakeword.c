/* A wake word: MFCC, a DS-CNN encoder, distances from a prototype, calibration by recordings, detection
 * (edgekws.features.mfcc, edgekws.models.ds_cnn, edgekws.methods.onda.calibration and .listening). */
#include "internal.h"

/* ------------------------------------------------------------------------------------------------ memory */
static uint32_t places(const edgekws_net *net, uint32_t block, uint32_t *columns) {
    uint32_t rows = (net->frames + 9 - 10) / 2 + 1;
    *columns = (net->coefficients + net->left + 1 - 4) / net->stride[0] + 1;
    if (block) { /* after the first depthwise convolution */
        rows = (rows + 2 - 3) / net->stride[1] + 1;
        *columns = (*columns + 2 - 3) / net->stride[1] + 1;
    }
    return rows;
}

static uint32_t align8(uint64_t bytes) {
    return (uint32_t)((bytes + 7) / 8 * 8);
}

/* Floats of the larger and of the smaller map, and of the widest layer. */
static void extents(const edgekws_net *net, uint32_t *first, uint32_t *second, uint32_t *widest) {
    uint32_t columns, block, rows = places(net, 0, &columns);
    *first = rows * columns * net->stem.weights.to;
    *second = 0;
    *widest = net->stem.weights.to;
    rows = places(net, 1, &columns);
    for (block = 0; block < net->blocks; block++) {
        const edgekws_matrix *of = &net->pointwise[block].weights;
        *second = rows * columns * of->from > *second ? rows * columns * of->from : *second;
        *first = rows * columns * of->to > *first ? rows * columns * of->to : *first;
        *widest = of->to > *widest ? of->to : *widest;
    }
}

static uint32_t lay_out(edgekws_ear *ear, const edgekws_net *net, uint8_t *base) {
    uint32_t first, second, widest, used = 0, i;
    uint64_t sizes[8];
    void *parts[8];
    extents(net, &first, &second, &widest);
    sizes[0] = 4ull * first;
    sizes[1] = 4ull * second;
    sizes[2] = 16ull * widest;
    sizes[3] = 4ull * net->frames * net->spectrum.mels;
    sizes[4] = 4ull * net->frames * net->coefficients;
    sizes[5] = 8ull * net->spectrum.size;
    sizes[6] = 2ull * net->samples;
    sizes[7] = 8ull * net->embedding;
    for (i = 0; i < 8; i++) {
        parts[i] = base ? base + used : NULL;
        used += align8(sizes[i]);
    }
    memset(ear, 0, sizeof *ear);
    ear->net = net;
    ear->maps = parts[0];
    ear->other = parts[1];
    ear->row = parts[2];
    ear->levels = parts[3];
    ear->mfcc = parts[4];
    ear->fourier = parts[5];
    ear->second = parts[6];
    ear->embedding = parts[7];
    ear->prototype = base ? ear->embedding + net->embedding : NULL;
    return used;
}

uint32_t edgekws_ear_needs(const edgekws_net *net) {
    edgekws_ear ear;
    return net && net->kind == EDGEKWS_WAKE_WORD ? lay_out(&ear, net, NULL) : 0;
}

int edgekws_ear_start(edgekws_ear *ear, const edgekws_net *net, void *arena, uint32_t room) {
    const uint32_t needed = edgekws_ear_needs(net);
    if (!ear || !needed) {
        return net && net->kind == EDGEKWS_SPIKING ? EDGEKWS_OTHER_KIND : EDGEKWS_BAD_ARGUMENT;
    }
    if (!arena || (uintptr_t)arena % 8 || room < needed) {
        return EDGEKWS_NO_ROOM;
    }
    memset(arena, 0, needed);
    lay_out(ear, net, arena);
    if (net->wake_word) {
        memcpy(ear->prototype, net->wake_word, net->embedding * sizeof(float));
        ear->filter = (uint32_t)net->wake_word[net->embedding];
        ear->detection = net->wake_word[net->embedding + 1];
    }
    return EDGEKWS_OK;
}

/* ------------------------------------------------------------------------------------------------ MFCC */
static void mfcc(edgekws_ear *ear, const int16_t *second) {
    const edgekws_net *net = ear->net;
    const edgekws_spectrum *of = &net->spectrum;
    const uint32_t before = (of->size - of->window) / 2, values = net->frames * of->mels;
    float loudest = -1e30f;
    uint32_t frame, i, band;
    for (frame = 0; frame < net->frames; frame++) {
        ek_mel_power(of, second + before + frame * of->hop, ear->fourier, ear->levels + frame * of->mels);
    }
    for (i = 0; i < values; i++) { /* of samples of full scale 1, in dB */
        const float power = ear->levels[i] * 9.31322575e-10f;
        ear->levels[i] = 4.34294482f * ek_log(power > 1e-10f ? power : 1e-10f);
        loudest = ear->levels[i] > loudest ? ear->levels[i] : loudest;
    }
    memset(ear->mfcc, 0, net->frames * net->coefficients * sizeof(float));
    for (frame = 0; frame < net->frames; frame++) {
        for (band = 0; band < of->mels; band++) {
            const float level = ear->levels[frame * of->mels + band], floor = loudest - 80.0f;
            ek_add(ear->mfcc + frame * net->coefficients, net->transform + band * net->coefficients,
                   level > floor ? level : floor, net->coefficients);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ DS-CNN */
static void rectify(float *values, uint32_t count) {
    uint32_t i;
    for (i = 0; i < count; i++) {
        values[i] = values[i] > 0 ? values[i] : 0.0f;
    }
}

static void multiply_channels(float *sum, const float *values, const float *weights, uint32_t channels) {
    uint32_t i;
    for (i = 0; i < channels; i++) {
        sum[i] += values[i] * weights[i];
    }
}

/* The convolution of 10 x 4 over the MFCC, zeros around them (five rows before, `left` columns), and its rectifier. */
static void stem(edgekws_ear *ear) {
    const edgekws_net *net = ear->net;
    const uint32_t channels = net->stem.weights.to;
    uint32_t columns, y, x, dy, dx;
    const uint32_t rows = places(net, 0, &columns);
    float patch[40], *out = ear->maps;
    for (y = 0; y < rows; y++) {
        for (x = 0; x < columns; x++, out += channels) {
            for (dy = 0; dy < 10; dy++) {
                for (dx = 0; dx < 4; dx++) {
                    const int32_t row = (int32_t)(2 * y + dy) - 5, column = (int32_t)(net->stride[0] * x + dx - net->left);
                    const int inside = row >= 0 && row < (int32_t)net->frames && column >= 0 && column < (int32_t)net->coefficients;
                    patch[4 * dy + dx] = inside ? ear->mfcc[(uint32_t)row * net->coefficients + (uint32_t)column] : 0.0f;
                }
            }
            memcpy(out, net->stem.bias, channels * sizeof(float));
            ek_multiply(out, &net->stem.weights, patch, ear->row);
            rectify(out, channels);
        }
    }
}

/* A depthwise convolution of 3 x 3 and its rectifier, from `maps` to `other`. */
static void depthwise(edgekws_ear *ear, uint32_t block) {
    const edgekws_net *net = ear->net;
    const edgekws_layer *layer = &net->depthwise[block];
    const uint32_t channels = layer->weights.to, stride = block ? 1 : net->stride[1];
    uint32_t columns, before, y, x, tap;
    const uint32_t rows_before = places(net, block, &before), rows = places(net, 1, &columns);
    float *out = ear->other;
    for (y = 0; y < rows; y++) {
        for (x = 0; x < columns; x++, out += channels) {
            memcpy(out, layer->bias, channels * sizeof(float));
            for (tap = 0; tap < 9; tap++) {
                const int32_t row = (int32_t)(stride * y + tap / 3) - 1, column = (int32_t)(stride * x + tap % 3) - 1;
                if (row >= 0 && row < (int32_t)rows_before && column >= 0 && column < (int32_t)before) {
                    multiply_channels(out, ear->maps + ((uint32_t)row * before + (uint32_t)column) * channels,
                                      ek_row(&layer->weights, tap, ear->row), channels);
                }
            }
            rectify(out, channels);
        }
    }
}

int edgekws_ear_embed(edgekws_ear *ear, const int16_t *second, float *embedding) {
    const edgekws_net *net;
    uint32_t block, place, columns, count;
    float length;
    if (!ear || !ear->net || !second) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    net = ear->net;
    mfcc(ear, second);
    stem(ear);
    count = places(net, 1, &columns);
    count *= columns;
    for (block = 0; block < net->blocks; block++) {
        const edgekws_layer *layer = &net->pointwise[block];
        const uint32_t from = layer->weights.from, to = layer->weights.to;
        depthwise(ear, block);
        if (block + 1 == net->blocks) { /* what is linear comes after the mean over the map */
            for (place = 1; place < count; place++) {
                ek_add(ear->other, ear->other + place * from, 1.0f, from);
            }
            for (place = 0; place < from; place++) {
                ear->other[place] /= (float)count;
            }
            memcpy(ear->embedding, layer->bias, to * sizeof(float));
            ek_multiply(ear->embedding, &layer->weights, ear->other, ear->row);
            break;
        }
        for (place = 0; place < count; place++) {
            float *out = ear->maps + place * to;
            memcpy(out, layer->bias, to * sizeof(float));
            ek_multiply(out, &layer->weights, ear->other + place * from, ear->row);
            rectify(out, to);
        }
    }
    length = ek_sqrt(ek_dot(ear->embedding, ear->embedding, net->embedding));
    if (!ek_finite(&length, 1)) {
        return EDGEKWS_NOT_FINITE;
    }
    length = length > 1e-12f ? length : 1e-12f;
    for (place = 0; place < net->embedding; place++) {
        ear->embedding[place] /= length;
    }
    if (embedding) {
        memcpy(embedding, ear->embedding, net->embedding * sizeof(float));
    }
    return EDGEKWS_OK;
}

/* ------------------------------------------------------------------------------------------------ windows */
/* Distance of the second held, and its mean over each filter's windows: those before this one, the first ones as they are. */
static int window(edgekws_ear *ear, float filtered[EDGEKWS_FILTERS]) {
    const int status = edgekws_ear_embed(ear, ear->second, NULL);
    uint32_t length, i;
    float distance;
    if (status != EDGEKWS_OK) {
        return status;
    }
    distance = 2.0f - 2.0f * ek_dot(ear->embedding, ear->prototype, ear->net->embedding);
    for (length = 1; length <= EDGEKWS_FILTERS; length++) {
        float total = 0;
        for (i = 0; i < length; i++) { /* from the oldest on; recent[0] is the last one */
            total += ear->recent[length - 1 - i];
        }
        filtered[length - 1] = length > 1 && ear->windows > length ? total / (float)length : distance;
    }
    for (i = EDGEKWS_FILTERS - 1; i; i--) {
        ear->recent[i] = ear->recent[i - 1];
    }
    ear->recent[0] = distance;
    ear->windows++;
    return EDGEKWS_OK;
}

static void quiet(edgekws_ear *ear) {
    memset(ear->second, 0, ear->net->samples * sizeof(int16_t));
    ear->windows = ear->filled = 0;
}

/* Moves samples in; how many it took until a window is due. NULL: zeros. */
static uint32_t fill(edgekws_ear *ear, const int16_t *samples, uint32_t count) {
    const uint32_t step = ear->net->step, kept = ear->net->samples - step;
    uint32_t i, taken;
    if (!ear->filled) {
        for (i = 0; i < kept; i++) {
            ear->second[i] = ear->second[i + step];
        }
    }
    taken = step - ear->filled < count ? step - ear->filled : count;
    for (i = 0; i < taken; i++) {
        ear->second[kept + ear->filled + i] = samples ? samples[i] : 0;
    }
    ear->filled = (ear->filled + taken) % step;
    return taken;
}

/* ------------------------------------------------------------------------------------------------ teaching */
int edgekws_ear_teach(edgekws_ear *ear, const int16_t *samples, uint32_t count) {
    uint32_t i, start;
    int status;
    if (!ear || !ear->net || !samples || !count || count > 0x7FFFFFFFu) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    if (!ear->taught) {
        memset(ear->prototype, 0, ear->net->embedding * sizeof(float));
        for (i = 0; i < EDGEKWS_FILTERS; i++) {
            ear->farthest[i] = -1e30f;
            ear->nearest[i] = 1e30f;
        }
    }
    start = count > ear->net->samples ? ek_loudest(samples, count, ear->net->samples, 400) : 0;
    memset(ear->second, 0, ear->net->samples * sizeof(int16_t));
    for (i = 0; i < ear->net->samples && start + i < count; i++) {
        ear->second[i] = samples[start + i];
    }
    if ((status = edgekws_ear_embed(ear, ear->second, NULL)) != EDGEKWS_OK) {
        return status;
    }
    ek_add(ear->prototype, ear->embedding, 1.0f, ear->net->embedding);
    ear->taught++;
    return EDGEKWS_OK;
}

int edgekws_ear_compare(edgekws_ear *ear, const int16_t *samples, uint32_t count, int is_wake_word) {
    const uint32_t second = ear && ear->net ? ear->net->samples : 0;
    uint32_t padding, total, number, i, left;
    float filtered[EDGEKWS_FILTERS], least[EDGEKWS_FILTERS];
    int status;
    if (!second || !samples || !count || count > 0x3FFFFFFFu || !ear->taught) {
        return ear && ear->net && !ear->taught ? EDGEKWS_NOTHING : EDGEKWS_BAD_ARGUMENT;
    }
    if (!ear->compared) { /* the mean of what was taught, of length 1 */
        const float size = ek_sqrt(ek_dot(ear->prototype, ear->prototype, ear->net->embedding));
        for (i = 0; size > 0 && i < ear->net->embedding; i++) {
            ear->prototype[i] /= size;
        }
    }
    ear->compared++;
    ear->listening = 0;
    padding = second / ear->net->step;
    left = count > second ? count : second; /* filled up to a second; one of zeros comes before and after */
    total = 1 + (left + second) / ear->net->step;
    quiet(ear);
    for (i = 0; i < EDGEKWS_FILTERS; i++) {
        least[i] = 1e30f;
    }
    for (number = 0; number < total; number++) {
        uint32_t due = number ? ear->net->step : 0;
        while (due) {
            const uint32_t taken = fill(ear, count ? samples : NULL, count && count < due ? count : due);
            due -= taken;
            samples += count ? taken : 0;
            count -= count ? taken : 0;
        }
        if ((status = window(ear, filtered)) != EDGEKWS_OK) {
            return status;
        }
        for (i = 0; number >= padding && number < total - padding && i < EDGEKWS_FILTERS; i++) {
            least[i] = filtered[i] < least[i] ? filtered[i] : least[i];
        }
    }
    for (i = 0; i < EDGEKWS_FILTERS; i++) {
        if (is_wake_word) {
            ear->farthest[i] = least[i] > ear->farthest[i] ? least[i] : ear->farthest[i];
        } else {
            ear->nearest[i] = least[i] < ear->nearest[i] ? least[i] : ear->nearest[i];
        }
    }
    return EDGEKWS_OK;
}

int edgekws_ear_calibrate(edgekws_ear *ear, float share, float cap) {
    uint32_t i, best = 0;
    float gap;
    if (!ear || !ear->net || !ek_finite(&share, 1) || !ek_finite(&cap, 1)) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    if (!ear->compared || ear->farthest[0] < -1e29f || ear->nearest[0] > 1e29f) {
        return EDGEKWS_NOTHING;
    }
    for (i = 1; i < EDGEKWS_FILTERS; i++) { /* the largest gap, of equals the shortest filter */
        best = ear->nearest[i] - ear->farthest[i] > ear->nearest[best] - ear->farthest[best] ? i : best;
    }
    gap = ear->nearest[best] - ear->farthest[best];
    ear->taught = ear->compared = 0;
    if (!(gap > 0)) {
        return EDGEKWS_TOO_ALIKE;
    }
    ear->filter = best + 1;
    ear->detection = ear->farthest[best] + (share * gap < cap ? share * gap : cap);
    ear->listening = 0;
    return EDGEKWS_OK;
}

/* ------------------------------------------------------------------------------------------------ listening */
static int settle(edgekws_ear *ear, edgekws_detection *found) {
    const uint32_t late = ear->filter - 1, end = (ear->lowest_window > late ? ear->lowest_window - late : 0) * ear->net->step;
    ear->in_run = 0;
    if (ear->detected && end - ear->last < ear->net->samples) {
        return EDGEKWS_OK;
    }
    ear->detected = 1;
    ear->last = end;
    found->end = end;
    found->distance = ear->lowest;
    return EDGEKWS_MORE;
}

int edgekws_ear_listen(edgekws_ear *ear, const int16_t *samples, uint32_t count, uint32_t *taken, edgekws_detection *found) {
    float filtered[EDGEKWS_FILTERS];
    int status;
    if (!ear || !ear->net || !taken || !found || (!samples && count)) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    if (!ear->filter) {
        return EDGEKWS_NOTHING;
    }
    *taken = 0;
    if (!ear->listening) {
        quiet(ear);
        ear->listening = 1;
        ear->in_run = ear->detected = 0;
        if ((status = window(ear, filtered)) != EDGEKWS_OK) {
            return status;
        }
    }
    while (*taken < count) {
        float distance;
        *taken += fill(ear, samples + *taken, count - *taken);
        if (ear->filled) {
            return EDGEKWS_OK;
        }
        if ((status = window(ear, filtered)) != EDGEKWS_OK) {
            return status;
        }
        distance = filtered[ear->filter - 1];
        if (distance >= ear->detection) {
            if (ear->in_run && settle(ear, found) == EDGEKWS_MORE) {
                return EDGEKWS_MORE;
            }
        } else if (!ear->in_run || distance < ear->lowest) {
            ear->in_run = 1;
            ear->lowest = distance;
            ear->lowest_window = ear->windows - 1;
        }
    }
    return EDGEKWS_OK;
}

int edgekws_ear_finish(edgekws_ear *ear, edgekws_detection *found) {
    if (!ear || !ear->net || !found) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    ear->listening = 0;
    return ear->in_run ? settle(ear, found) : EDGEKWS_OK;
}
