/* An image: what the exporter wrote (edgekws.embedded.image), checked once, so that nothing behind it needs to check again. */
#include "internal.h"

#define MAGIC 0x53574B45u /* "EKWS" */
#define VERSION 1u
#define HEADER 24u

typedef struct {
    const uint8_t *image;
    uint32_t sections;
    int failed;
} reader;

static uint32_t u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t checksum(const uint8_t *bytes, uint32_t count) {
    uint32_t crc = 0xFFFFFFFFu, i, bit;
    for (i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1)));
        }
    }
    return ~crc;
}

/* A section by its name of four letters, and its bytes; NULL if it is absent. */
static const void *find(const reader *from, const char *name, uint32_t *bytes) {
    uint32_t i;
    for (i = 0; i < from->sections; i++) {
        const uint8_t *entry = from->image + HEADER + 12 * i;
        if (u32(entry) == u32((const uint8_t *)name)) {
            *bytes = u32(entry + 8);
            return from->image + u32(entry + 4);
        }
    }
    *bytes = 0;
    return NULL;
}

/* A section that must have so many values of `size` bytes. */
static const void *section(reader *from, const char *name, uint32_t count, uint32_t size) {
    uint32_t bytes;
    const void *found = find(from, name, &bytes);
    if (!found || (uint64_t)count * size != bytes) {
        from->failed = 1;
    }
    return found;
}

static const float *floats(reader *from, const char *name, uint32_t count) {
    const float *values = section(from, name, count, sizeof(float));
    if (!from->failed && !ek_finite(values, count)) {
        from->failed = 1;
    }
    return values;
}

/* A matrix: floats where there are as many bytes; else int8, and scales under its name with a small first letter. */
static edgekws_matrix matrix(reader *from, const char *name, uint32_t rows, uint32_t columns) {
    edgekws_matrix found = {rows, columns, NULL, NULL, NULL};
    char scales[4];
    uint32_t bytes;
    const void *values = find(from, name, &bytes);
    if (values && bytes == (uint64_t)rows * columns * sizeof(float)) {
        found.f32 = floats(from, name, rows * columns);
    } else {
        scales[0] = (char)(name[0] + 'a' - 'A');
        memcpy(scales + 1, name + 1, 3);
        found.i8 = section(from, name, rows * columns, 1);
        found.scale = floats(from, scales, columns);
    }
    return found;
}

static int between(uint32_t value, uint32_t least, uint32_t most) {
    return value >= least && value <= most;
}

/* The numbers of a transform of `points` as factors 4, 2, 3, 5; 0 if there are others. */
static int factorise(uint32_t points, uint8_t *radices) {
    static const uint8_t tried[4] = {4, 2, 3, 5};
    uint32_t n = 0, i;
    for (i = 0; i < 4; i++) {
        while (points % tried[i] == 0 && n < 11) {
            radices[n++] = tried[i];
            points /= tried[i];
        }
    }
    radices[n] = 0;
    return points == 1;
}

static int on_circle(const int32_t *cosines, uint32_t size) {
    uint32_t k;
    for (k = 0; k < size; k++) {
        const int64_t c = cosines[k], s = cosines[(k + size - size / 4) % size];
        if (c > 1073741824 || c < -1073741824) {
            return 0;
        }
        if (s > 1073741824 || s < -1073741824 || c * c + s * s - ((int64_t)1 << 60) > ((int64_t)1 << 33)) {
            return 0;
        }
    }
    return 1;
}

static int spectrum(reader *from, edgekws_spectrum *of, uint32_t samples) {
    uint32_t i, filters = 0;
    const uint32_t *sizes = section(from, "FRNT", 6, 4);
    if (from->failed) {
        return 0;
    }
    of->window = sizes[0];
    of->size = sizes[1];
    of->hop = sizes[2];
    of->mels = sizes[3];
    if (!between(of->size, 8, 4096) || of->size % 4 || !between(of->window, 4, of->size) || (of->size - of->window) % 2
        || !between(of->hop, 1, samples) || !between(of->mels, 1, 256) || !factorise(of->size / 2, of->radices)) {
        return 0;
    }
    of->hann = section(from, "HANN", of->window, 4);
    of->cosines = section(from, "COSN", of->size, 4);
    of->bands = section(from, "BAND", of->mels * 2, 2);
    if (from->failed || !on_circle(of->cosines, of->size)) {
        return 0;
    }
    for (i = 0; i < of->window; i++) {
        if (of->hann[i] < 0 || of->hann[i] > 1073741824) {
            return 0;
        }
    }
    for (i = 0; i < of->mels; i++) {
        if (of->bands[2 * i] + (uint32_t)of->bands[2 * i + 1] > of->size / 2 + 1) {
            return 0;
        }
        filters += of->bands[2 * i + 1];
    }
    of->filters = floats(from, "MELS", filters);
    return !from->failed;
}

/* Words ended by zero bytes, as many as there shall be. */
static int vocabulary(reader *from, edgekws_net *net) {
    uint32_t bytes, i, words = 0;
    net->vocabulary = find(from, "WORD", &bytes);
    for (i = 0; net->vocabulary && i < bytes; i++) {
        words += net->vocabulary[i] == 0;
    }
    return net->vocabulary && bytes && net->vocabulary[bytes - 1] == 0 && words == net->words;
}

static int spiking(reader *from, edgekws_net *net) {
    const uint32_t *sizes = section(from, "SIZE", 8, 4);
    const float *constants = floats(from, "CNST", 5);
    uint32_t i;
    if (from->failed) {
        return 0;
    }
    net->neurons = sizes[0];
    net->outputs = sizes[1];
    net->words = sizes[2];
    net->recurrent = sizes[3];
    net->soft_reset = sizes[4];
    net->samples = sizes[5];
    net->width = sizes[6];
    net->membrane_leak = constants[0];
    net->trace_leak = constants[1];
    net->output_leak = constants[2];
    net->threshold = constants[3];
    net->surrogate_scale = constants[4];
    if (!between(net->neurons, 1, 4096) || !between(net->outputs, 1, 256) || !between(net->words, 1, net->outputs)
        || !between(net->samples, 1000, 160000) || !between(net->width, 3, 31) || !spectrum(from, &net->spectrum, net->samples)) {
        return 0;
    }
    net->frames = 1 + (net->samples - net->spectrum.window % 2) / net->spectrum.hop;
    net->inputs = 3 * net->spectrum.mels;
    if (!between(net->frames, net->width, 4096) || net->spectrum.window != net->spectrum.size) {
        return 0;
    }
    net->differences = floats(from, "DIFF", net->width * 2 * net->width);
    net->scale = floats(from, "SCAL", net->inputs);
    for (i = 0; !from->failed && i < net->inputs; i++) {
        from->failed = !(net->scale[i] > 0);
    }
    net->input = matrix(from, "WINP", net->inputs, net->neurons);
    net->readout = matrix(from, "WOUT", net->neurons, net->outputs);
    net->label = matrix(from, "TLAB", net->outputs, net->neurons);
    if (net->recurrent) {
        net->between = matrix(from, "WREC", net->neurons, net->neurons);
        net->label_between = matrix(from, "TREC", net->neurons, net->neurons);
    }
    net->base = section(from, "BASE", 64, 1);
    net->header[0] = find(from, "DHDR", &net->header_bytes[0]);
    net->header[1] = find(from, "DHD8", &net->header_bytes[1]);
    return !from->failed && net->header[0] && net->header[1] && vocabulary(from, net);
}

/* A convolution: its weights, and biases under another name; `name` ends in the number of its block. */
static int layer(reader *from, const char *kind, uint32_t number, uint32_t rows, uint32_t columns, edgekws_layer *found) {
    char name[4] = {kind[0], kind[1], (char)('0' + number / 10), (char)('0' + number % 10)};
    found->weights = matrix(from, name, rows, columns);
    name[1] = 'B';
    found->bias = floats(from, name, columns);
    return !from->failed;
}

static int wake_word(reader *from, edgekws_net *net) {
    const uint32_t *sizes = section(from, "SIZE", 8, 4), *widths;
    uint32_t i, bytes;
    if (from->failed) {
        return 0;
    }
    net->samples = sizes[0];
    net->frames = sizes[1];
    net->coefficients = sizes[2];
    net->blocks = sizes[3];
    net->stride[0] = sizes[4];
    net->stride[1] = sizes[5];
    net->step = sizes[6];
    net->left = sizes[7];
    if (!between(net->samples, 1000, 160000) || !between(net->frames, 4, 1024) || !between(net->coefficients, 4, 64)
        || !between(net->blocks, 1, EDGEKWS_BLOCKS) || !between(net->stride[0], 1, 2) || !between(net->stride[1], 1, 2)
        || !between(net->step, 1, net->samples) || !between(net->left, 1, 2) || !spectrum(from, &net->spectrum, net->samples)
        || (net->spectrum.size - net->spectrum.window) / 2 + (net->frames - 1) * (uint64_t)net->spectrum.hop
                   + net->spectrum.window > net->samples) {
        return 0;
    }
    net->transform = floats(from, "DCTM", net->spectrum.mels * net->coefficients);
    widths = section(from, "WIDS", net->blocks + 1, 4);
    for (i = 0; !from->failed && i <= net->blocks; i++) {
        from->failed = !between(widths[i], 1, 1024);
    }
    if (from->failed || !layer(from, "SW", 0, 40, widths[0], &net->stem)) {
        return 0;
    }
    for (i = 0; i < net->blocks; i++) {
        if (!layer(from, "DW", i, 9, widths[i], &net->depthwise[i])
            || !layer(from, "PW", i, widths[i], widths[i + 1], &net->pointwise[i])) {
            return 0;
        }
    }
    net->embedding = widths[net->blocks];
    net->wake_word = find(from, "WAKE", &bytes);
    if (net->wake_word) {
        net->wake_word = floats(from, "WAKE", net->embedding + 2);
        from->failed |= !from->failed && !(net->wake_word[net->embedding] >= 1 && net->wake_word[net->embedding] <= EDGEKWS_FILTERS);
    }
    return !from->failed;
}

int edgekws_open(edgekws_net *net, const void *image, uint32_t bytes) {
    reader from;
    uint32_t i;
    if (!net) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    memset(net, 0, sizeof *net);
    if (!image || (uintptr_t)image % 4) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    from.image = image;
    from.failed = 0;
    if (bytes < HEADER || u32(from.image) != MAGIC) {
        return EDGEKWS_BAD_IMAGE;
    }
    if (u32(from.image + 4) != VERSION) {
        return EDGEKWS_BAD_VERSION;
    }
    from.sections = u32(from.image + 20);
    if (u32(from.image + 8) != bytes || from.sections > 64 || HEADER + 12 * from.sections > bytes) {
        return EDGEKWS_DAMAGED;
    }
    if (u32(from.image + 12) != checksum(from.image + 16, bytes - 16)) {
        return EDGEKWS_DAMAGED;
    }
    for (i = 0; i < from.sections; i++) {
        const uint8_t *entry = from.image + HEADER + 12 * i;
        if (u32(entry + 4) % 4 || u32(entry + 4) > bytes || u32(entry + 8) > bytes - u32(entry + 4)) {
            return EDGEKWS_DAMAGED;
        }
    }
    net->kind = u32(from.image + 16);
    if (net->kind == EDGEKWS_SPIKING ? !spiking(&from, net) : net->kind != EDGEKWS_WAKE_WORD || !wake_word(&from, net)) {
        memset(net, 0, sizeof *net);
        return EDGEKWS_BAD_IMAGE;
    }
    return EDGEKWS_OK;
}

const char *edgekws_word(const edgekws_net *net, uint32_t word) {
    const char *name;
    if (!net || !net->vocabulary || word >= net->words) {
        return NULL;
    }
    for (name = net->vocabulary; word; word--) {
        while (*name++) {
        }
    }
    return name;
}

int edgekws_pcm(const float *samples, uint32_t count, int16_t *pcm) {
    uint32_t i;
    if (!samples || !pcm) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    if (!ek_finite(samples, count)) {
        return EDGEKWS_NOT_FINITE;
    }
    for (i = 0; i < count; i++) {
        const float scaled = samples[i] * 32768.0f;
        pcm[i] = scaled >= 32767.0f    ? 32767
                 : scaled <= -32768.0f ? -32768
                                       : (int16_t)(scaled < 0 ? scaled - 0.5f : scaled + 0.5f);
    }
    return EDGEKWS_OK;
}

const char *edgekws_message(int status) {
    switch (status) {
    case EDGEKWS_OK: return "done";
    case EDGEKWS_MORE: return "there is more to do: call it again";
    case EDGEKWS_BAD_IMAGE: return "this is no image of a model, or one that was made wrongly: export it again";
    case EDGEKWS_BAD_VERSION: return "the image is of another version than the library: export and build both anew";
    case EDGEKWS_DAMAGED: return "the image is damaged or cut short: its checksum does not fit; copy it again";
    case EDGEKWS_OTHER_KIND: return "the image holds another kind of model: give a spiking net to learn words, an encoder for a wake word";
    case EDGEKWS_NO_ROOM: return "the arena is too small or not aligned to 8 bytes: ask how many bytes are needed";
    case EDGEKWS_BAD_ARGUMENT: return "an argument is not possible: see the header";
    case EDGEKWS_NOT_FINITE: return "a number is not finite: record again, or check what was computed before";
    case EDGEKWS_FULL: return "the reservoir is full: name a clip to replace, or drop one";
    case EDGEKWS_NOTHING: return "there is nothing to work on: hear or keep a clip first";
    case EDGEKWS_BAD_DELTA: return "this is no delta that fits this net: save it again";
    case EDGEKWS_OTHER_BASE: return "the delta was made from another base: use it with the model that it was learnt on";
    case EDGEKWS_FROZEN: return "the arena was laid out without learning: start with room for clips";
    case EDGEKWS_NOT_WRITTEN: return "the delta could not be written: free some space and save it again";
    case EDGEKWS_TOO_ALIKE: return "the wake word cannot be told from the other speech: record it again, alike each time and in quiet";
    default: return "an unknown status";
    }
}
