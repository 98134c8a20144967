/* A user's delta as a file: safetensors with `replaced` or `difference` tensors (edgekws.models.delta.format).
 *
 * Headers of what is written come with the image. What is read may come from anywhere: it is checked whole before a weight
 * changes. */
#include "internal.h"

static const char *const NAMES[3] = {"hidden.0.input", "hidden.0.recurrent", "readout"};

/* ------------------------------------------------------------------------------------------------ writing */
#define CHUNK 64u

static const edgekws_matrix *base_of(const edgekws_net *net, uint32_t which) {
    return which == 0 ? &net->input : which == 1 ? &net->between : &net->readout;
}

/* A value of the base's matrix. */
static float base_value(const edgekws_matrix *base, uint32_t from, uint32_t to) {
    const size_t place = (size_t)from * base->to + to;
    return base->f32 ? base->f32[place] : (float)base->i8[place] * base->scale[to];
}

static float learnt(const edgekws_model *model, uint32_t which, uint32_t from, uint32_t to) {
    const edgekws_matrix *base = base_of(model->net, which);
    return model->trained[which].weights[(size_t)from * base->to + to] - base_value(base, from, to);
}

/* Scale of a row of int8: the largest magnitude / 127, rounded up to 16 bits (edgekws.models.delta.int8). */
static float scale_of(const edgekws_model *model, uint32_t which, uint32_t to) {
    union {
        float value;
        uint32_t bits;
    } scale;
    float largest = 0;
    uint32_t from;
    for (from = 0; from < base_of(model->net, which)->from; from++) {
        const float value = learnt(model, which, from, to);
        largest = value > largest ? value : -value > largest ? -value : largest;
    }
    scale.value = largest / 127.0f;
    scale.bits = (scale.bits + 0xFFu) & ~0xFFu;
    return scale.value;
}

static int write_scales(const edgekws_model *model, uint32_t which, edgekws_write write, void *target) {
    uint32_t to;
    for (to = 0; to < base_of(model->net, which)->to; to++) {
        const float scale = scale_of(model, which, to);
        if (write(target, &scale, sizeof scale)) {
            return EDGEKWS_NOT_WRITTEN;
        }
    }
    return EDGEKWS_OK;
}

/* Rows [to][from] of weights, or of int8 differences. */
static int write_rows(const edgekws_model *model, uint32_t which, uint32_t precision, edgekws_write write, void *target) {
    const edgekws_matrix *base = base_of(model->net, which);
    float values[CHUNK];
    int8_t integers[CHUNK];
    uint32_t to, from, held;
    for (to = 0; to < base->to; to++) {
        const float scale = precision == EDGEKWS_INT8 ? scale_of(model, which, to) : 0.0f;
        for (from = 0; from < base->from; from += held) {
            for (held = 0; held < CHUNK && from + held < base->from; held++) {
                const float value = scale > 0 ? learnt(model, which, from + held, to) / scale : 0.0f;
                values[held] = model->trained[which].weights[(size_t)(from + held) * base->to + to];
                integers[held] = (int8_t)((value + 12582912.0f) - 12582912.0f); /* to the nearest, halves to even */
            }
            if (precision == EDGEKWS_INT8 ? write(target, integers, held) : write(target, values, 4 * held)) {
                return EDGEKWS_NOT_WRITTEN;
            }
        }
    }
    return EDGEKWS_OK;
}

uint32_t edgekws_delta_bytes(const edgekws_model *model, uint32_t precision) {
    uint32_t which, bytes;
    if (!model || !model->net || !model->plan.clips || precision > EDGEKWS_INT8) {
        return 0;
    }
    bytes = model->net->header_bytes[precision];
    for (which = 0; which < 3; which++) {
        const uint32_t count = model->trained[which].count;
        bytes += precision == EDGEKWS_INT8 ? count + (count ? 4 * base_of(model->net, which)->to : 0) : 4 * count;
    }
    return bytes;
}

int edgekws_save(edgekws_model *model, uint32_t precision, edgekws_write write, void *target) {
    uint32_t which;
    int status = EDGEKWS_OK;
    if (!model || !model->net || !write || precision > EDGEKWS_INT8) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    if (!model->plan.clips) {
        return EDGEKWS_FROZEN;
    }
    for (which = 0; which < 3; which++) {
        if (!ek_finite(model->trained[which].weights, model->trained[which].count)) {
            return EDGEKWS_NOT_FINITE;
        }
    }
    if (write(target, model->net->header[precision], model->net->header_bytes[precision])) {
        return EDGEKWS_NOT_WRITTEN;
    }
    for (which = 0; precision == EDGEKWS_INT8 && which < 3 && status == EDGEKWS_OK; which++) {
        status = model->trained[which].count ? write_scales(model, which, write, target) : EDGEKWS_OK;
    }
    for (which = 0; which < 3 && status == EDGEKWS_OK; which++) {
        status = model->trained[which].count ? write_rows(model, which, precision, write, target) : EDGEKWS_OK;
    }
    return status;
}

/* ------------------------------------------------------------------------------------------------ reading */
typedef struct {
    const char *at, *end;
} text;

typedef struct {
    int found, integers;
    uint64_t shape[2], dimensions, begin, end;
} tensor;

/* Of each matrix its values and their scales, and whether they are added to the base. */
typedef struct {
    tensor values[3], scales[3];
    int added[3], is_delta, is_own;
} contents;

static int next(text *json, char wanted) {
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r')) {
        json->at++;
    }
    if (json->at < json->end && *json->at == wanted) {
        json->at++;
        return 1;
    }
    return 0;
}

/* What is between two quotation marks, escapes as they are. */
static int string(text *json, text *found) {
    if (!next(json, '"')) {
        return 0;
    }
    for (found->at = json->at; json->at < json->end; json->at++) {
        if (*json->at == '\\' && json->at + 1 < json->end) {
            json->at++;
        } else if (*json->at == '"') {
            found->end = json->at++;
            return 1;
        }
    }
    return 0;
}

static int equals(const text *found, const char *wanted) {
    const char *at;
    for (at = found->at; at < found->end && *wanted; at++, wanted++) {
        if (*at != *wanted) {
            return 0;
        }
    }
    return at == found->end && !*wanted;
}

/* Numbers in brackets, at most two; how many there are, or -1. */
static int numbers(text *json, uint64_t *values) {
    int count = 0;
    if (!next(json, '[')) {
        return -1;
    }
    while (!next(json, ']')) {
        uint64_t value = 0;
        int digits = 0;
        if (count == 2 || (count && !next(json, ','))) {
            return -1;
        }
        while (json->at < json->end && *json->at == ' ') {
            json->at++;
        }
        for (; json->at < json->end && *json->at >= '0' && *json->at <= '9' && digits < 12; json->at++, digits++) {
            value = 10 * value + (uint64_t)(*json->at - '0');
        }
        if (!digits) {
            return -1;
        }
        values[count++] = value;
    }
    return count;
}

/* {"dtype": ..., "shape": [...], "data_offsets": [...]} in any order. */
static int entry(text *json, tensor *found) {
    text key, type = {NULL, NULL};
    uint64_t offsets[2];
    int first = 1, shape = -1, places = -1;
    found->shape[0] = found->shape[1] = 1;
    if (!next(json, '{')) {
        return 0;
    }
    for (; !next(json, '}'); first = 0) {
        if ((!first && !next(json, ',')) || !string(json, &key) || !next(json, ':')) {
            return 0;
        }
        if (equals(&key, "dtype") ? !string(json, &type)
            : equals(&key, "shape") ? (shape = numbers(json, found->shape)) < 0
            : equals(&key, "data_offsets") ? (places = numbers(json, offsets)) != 2
                                           : 1) {
            return 0;
        }
    }
    if (!type.at || shape < 0 || places != 2 || !(equals(&type, "F32") || equals(&type, "I8"))) {
        return 0;
    }
    found->integers = equals(&type, "I8");
    found->begin = offsets[0];
    found->end = offsets[1];
    found->found = 1;
    return 1;
}

/* Whether settings, JSON inside a string, name this base. */
static int names_base(text settings, const char *base) {
    static const char key[] = "\\\"base\\\":";
    uint32_t i;
    for (; settings.end - settings.at > (ptrdiff_t)sizeof key + 70; settings.at++) {
        const char *at = settings.at;
        for (i = 0; i < sizeof key - 1 && at[i] == key[i]; i++) {
        }
        if (i < sizeof key - 1) {
            continue;
        }
        at += i;
        at += *at == ' ';
        if (at[0] != '\\' || at[1] != '"') {
            return 0;
        }
        for (i = 0; i < 64 && at[2 + i] == base[i]; i++) {
        }
        return i == 64;
    }
    return 0;
}

static int metadata(text *json, const edgekws_net *net, contents *found) {
    text key, value;
    int first = 1;
    if (!next(json, '{')) {
        return 0;
    }
    for (; !next(json, '}'); first = 0) {
        if ((!first && !next(json, ',')) || !string(json, &key) || !next(json, ':') || !string(json, &value)) {
            return 0;
        }
        if (equals(&key, "architecture")) {
            found->is_delta = equals(&value, "delta");
        } else if (equals(&key, "settings")) {
            found->is_own = names_base(value, net->base);
        }
    }
    return 1;
}

/* Puts the tensor of a name into its place; 0 for a name that no delta of this net has. */
static int place_of(text name, contents *found, tensor **place) {
    static const char *const forms[4] = {"replaced/", "difference/", "scale/replaced/", "scale/difference/"};
    uint32_t form, which, i;
    for (form = 0; form < 4; form++) {
        text rest = name;
        for (i = 0; forms[form][i] && rest.at < rest.end && *rest.at == forms[form][i]; i++) {
            rest.at++;
        }
        for (which = 0; !forms[form][i] && which < 3; which++) {
            if (equals(&rest, NAMES[which])) {
                *place = form < 2 ? &found->values[which] : &found->scales[which];
                found->added[which] = form < 2 ? (int)form : found->added[which];
                return !(*place)->found;
            }
        }
    }
    return 0;
}

static int parse(text json, const edgekws_net *net, contents *found) {
    text key;
    tensor *place;
    int first = 1;
    memset(found, 0, sizeof *found);
    if (!next(&json, '{')) {
        return 0;
    }
    for (; !next(&json, '}'); first = 0) {
        if ((!first && !next(&json, ',')) || !string(&json, &key) || !next(&json, ':')) {
            return 0;
        }
        if (equals(&key, "__metadata__") ? !metadata(&json, net, found)
                                         : !place_of(key, found, &place) || !entry(&json, place)) {
            return 0;
        }
    }
    return 1;
}

static float value_at(const uint8_t *data, const tensor *of, uint64_t place) {
    float value;
    if (of->integers) {
        return (float)(int8_t)data[of->begin + place];
    }
    memcpy(&value, data + of->begin + 4 * place, 4);
    return value;
}

/* Whether a tensor of [to][from] lies in the file and has finite numbers. */
static int fits(const uint8_t *data, uint64_t bytes, const tensor *found, uint64_t to, uint64_t from) {
    const uint64_t size = found->integers ? 1 : 4;
    uint64_t i;
    if (found->shape[0] != to || found->shape[1] != from || found->begin > found->end || found->end > bytes
        || found->end - found->begin != to * from * size) {
        return 0;
    }
    for (i = 0; i < to * from; i++) {
        const float value = value_at(data, found, i);
        if (!ek_finite(&value, 1)) {
            return 0;
        }
    }
    return 1;
}

int edgekws_load(edgekws_model *model, const void *file, uint32_t bytes) {
    const uint8_t *data = file;
    contents found;
    text json;
    uint64_t length = 0, room;
    uint32_t which, i, to, from;
    if (!model || !model->net || !file) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    if (!model->plan.clips) {
        return EDGEKWS_FROZEN;
    }
    for (i = 0; i < 8 && bytes >= 8; i++) {
        length |= (uint64_t)data[i] << 8 * i;
    }
    if (bytes < 8 || length > bytes - 8) {
        return EDGEKWS_BAD_DELTA;
    }
    json.at = (const char *)data + 8;
    json.end = json.at + length;
    if (!parse(json, model->net, &found) || !found.is_delta) {
        return EDGEKWS_BAD_DELTA;
    }
    if (!found.is_own) {
        return EDGEKWS_OTHER_BASE;
    }
    data += 8 + length;
    room = bytes - 8 - length;
    for (which = 0; which < 3; which++) {
        const edgekws_matrix *base = base_of(model->net, which);
        const tensor *values = &found.values[which], *scales = &found.scales[which];
        if ((values->found && (!model->trained[which].count || !fits(data, room, values, base->to, base->from)))
            || values->integers != scales->found
            || (scales->found && (scales->integers || !fits(data, room, scales, base->to, 1)))) {
            return EDGEKWS_BAD_DELTA;
        }
    }
    model->learning = 0;
    ek_reset_weights(model);
    for (which = 0; which < 3; which++) {
        const edgekws_matrix *base = base_of(model->net, which);
        const tensor *values = &found.values[which];
        for (to = 0; values->found && to < base->to; to++) {
            const float scale = values->integers ? value_at(data, &found.scales[which], to) : 1.0f;
            for (from = 0; from < base->from; from++) {
                float *weight = model->trained[which].weights + (size_t)from * base->to + to;
                const float value = value_at(data, values, (uint64_t)to * base->from + from) * scale;
                *weight = found.added[which] ? *weight + value : value;
            }
        }
    }
    return EDGEKWS_OK;
}
