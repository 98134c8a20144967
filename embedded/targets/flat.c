/* The library as plain functions of numbers and pointers, for one model: what JavaScript and Python's ctypes call.
 * README.md describes them. */
#include "../edgekws.h"

#ifdef __wasm__
#define API(name) __attribute__((export_name(#name)))
#else
#define API(name) __attribute__((visibility("default")))
#endif

static edgekws_net net;
static edgekws_model model;
static edgekws_ear ear;
static edgekws_detection detection;

#ifdef __wasm__
/* New memory, aligned to 64 KiB, that is never given back; 0 where there is none left. */
API(ekw_room) uint32_t ekw_room(uint32_t bytes) {
    const size_t before = __builtin_wasm_memory_grow(0, (bytes + 65535u) / 65536u);
    return before == (size_t)-1 ? 0 : (uint32_t)(before * 65536u);
}
#endif

API(ekw_open) int ekw_open(const void *image, uint32_t bytes) {
    model.net = NULL;
    ear.net = NULL;
    return edgekws_open(&net, image, bytes);
}

API(ekw_fact) uint32_t ekw_fact(uint32_t which) {
    const uint32_t facts[] = {net.kind, net.samples, net.frames, net.inputs, net.neurons, net.outputs, net.words, net.step,
                              net.embedding};
    return which < sizeof facts / sizeof *facts ? facts[which] : 0;
}

API(ekw_word) const char *ekw_word(uint32_t word) {
    return edgekws_word(&net, word);
}

API(ekw_message) const char *ekw_message(int status) {
    return edgekws_message(status);
}

static edgekws_plan plan_of(uint32_t clips, uint32_t batch, uint32_t optimiser, uint32_t storage, uint32_t rule) {
    const edgekws_plan plan = {clips, batch, optimiser, storage, rule};
    return plan;
}

API(ekw_needs)
uint32_t ekw_needs(uint32_t clips, uint32_t batch, uint32_t optimiser, uint32_t storage, uint32_t rule) {
    return edgekws_needs(&net, plan_of(clips, batch, optimiser, storage, rule));
}

API(ekw_start)
int ekw_start(uint32_t clips, uint32_t batch, uint32_t optimiser, uint32_t storage, uint32_t rule, void *arena, uint32_t room) {
    return edgekws_start(&model, &net, plan_of(clips, batch, optimiser, storage, rule), arena, room);
}

API(ekw_usage) uint32_t ekw_usage(uint32_t which) {
    const edgekws_usage *of = &model.usage;
    const uint32_t usage[] = {of->parameters, of->gradients, of->optimiser, of->traces, of->activations,
                              of->batch, of->reservoir, of->temporary, of->total};
    return which < sizeof usage / sizeof *usage ? usage[which] : 0;
}

API(ekw_pcm) int ekw_pcm(const float *samples, uint32_t count, int16_t *pcm) {
    return edgekws_pcm(samples, count, pcm);
}

API(ekw_hear) int ekw_hear(const int16_t *samples, uint32_t count) {
    return edgekws_hear(&model, samples, count);
}

API(ekw_features) int ekw_features(uint32_t frame, float *features) {
    return model.net ? edgekws_features(&model, frame, features) : EDGEKWS_BAD_ARGUMENT;
}

API(ekw_rest) int ekw_rest(void) {
    return edgekws_rest(&model);
}

API(ekw_step) int ekw_step(const float *features) {
    return edgekws_step(&model, features);
}

API(ekw_potentials) const float *ekw_potentials(void) {
    return model.state.readout;
}

API(ekw_predict) int ekw_predict(float *potentials) {
    return edgekws_predict(&model, potentials);
}

API(ekw_keep) int ekw_keep(uint32_t word, uint32_t replace) {
    uint32_t place = replace;
    const int status = edgekws_keep(&model, word, &place);
    return status == EDGEKWS_OK ? (int)place : status;
}

API(ekw_kept) int ekw_kept(uint32_t place) {
    return model.net && place < model.plan.clips && model.kept_word[place] != EDGEKWS_NO_WORD ? (int)model.kept_word[place]
                                                                                             : EDGEKWS_NOTHING;
}

API(ekw_drop) int ekw_drop(uint32_t place) {
    return edgekws_drop(&model, place);
}

API(ekw_recall) int ekw_recall(uint32_t place) {
    return edgekws_recall(&model, place);
}

API(ekw_learn) int ekw_learn(float rate, uint32_t epochs, uint32_t batch, uint32_t seed) {
    const edgekws_budget budget = {rate, epochs, batch, seed};
    return edgekws_learn(&model, budget);
}

API(ekw_learn_step) int ekw_learn_step(void) {
    return edgekws_learn_step(&model);
}

API(ekw_undo) int ekw_undo(void) {
    return edgekws_undo(&model);
}

API(ekw_weights) const float *ekw_weights(uint32_t which) {
    return which < 3 ? model.trained[which].weights : NULL;
}

API(ekw_weights_count) uint32_t ekw_weights_count(uint32_t which) {
    return which < 3 ? model.trained[which].count : 0;
}

typedef struct {
    uint8_t *at;
    uint32_t left;
} buffer;

static int append(void *to, const void *bytes, uint32_t count) {
    buffer *into = to;
    const uint8_t *from = bytes;
    if (count > into->left) {
        return 1;
    }
    into->left -= count;
    while (count--) {
        *into->at++ = *from++;
    }
    return 0;
}

API(ekw_delta_bytes) uint32_t ekw_delta_bytes(uint32_t precision) {
    return edgekws_delta_bytes(&model, precision);
}

API(ekw_save) int ekw_save(uint32_t precision, void *to, uint32_t room) {
    buffer into = {to, room};
    return edgekws_save(&model, precision, append, &into);
}

API(ekw_load) int ekw_load(const void *file, uint32_t bytes) {
    return edgekws_load(&model, file, bytes);
}

API(ekw_ear_needs) uint32_t ekw_ear_needs(void) {
    return edgekws_ear_needs(&net);
}

API(ekw_ear_start) int ekw_ear_start(void *arena, uint32_t room) {
    return edgekws_ear_start(&ear, &net, arena, room);
}

API(ekw_ear_embed) int ekw_ear_embed(const int16_t *second, float *embedding) {
    return edgekws_ear_embed(&ear, second, embedding);
}

API(ekw_ear_teach) int ekw_ear_teach(const int16_t *samples, uint32_t count) {
    return edgekws_ear_teach(&ear, samples, count);
}

API(ekw_ear_compare) int ekw_ear_compare(const int16_t *samples, uint32_t count, uint32_t is_wake_word) {
    return edgekws_ear_compare(&ear, samples, count, (int)is_wake_word);
}

API(ekw_ear_calibrate) int ekw_ear_calibrate(float share, float cap) {
    return edgekws_ear_calibrate(&ear, share, cap);
}

API(ekw_ear_listen) int ekw_ear_listen(const int16_t *samples, uint32_t count, uint32_t *taken) {
    return edgekws_ear_listen(&ear, samples, count, taken, &detection);
}

API(ekw_ear_finish) int ekw_ear_finish(void) {
    return edgekws_ear_finish(&ear, &detection);
}

API(ekw_ear_filter) uint32_t ekw_ear_filter(void) {
    return ear.filter;
}

API(ekw_ear_threshold) const float *ekw_ear_threshold(void) {
    return &ear.detection;
}

API(ekw_ear_detection) const edgekws_detection *ekw_ear_detection(void) {
    return &detection;
}
