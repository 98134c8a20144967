/* The spiking net at work: memory, hearing, inference, the reservoir (edgekws.models.recurrent_lif, edgekws.neurons.lif). */
#include "internal.h"

/* ------------------------------------------------------------------------------------------------ the arena */
typedef struct {
    uint8_t *base; /* NULL: only count */
    uint64_t used;
} arena;

static void *take(arena *from, uint64_t count, uint32_t size, uint32_t *category) {
    const uint64_t bytes = (count * size + 7) / 8 * 8;
    uint8_t *place = from->base ? from->base + from->used : NULL;
    from->used += bytes;
    *category += (uint32_t)bytes;
    return place;
}

/* What a clip has while the net runs over it, or a class's target path, which has neither features nor readout. */
static void take_clip(arena *from, const edgekws_net *net, edgekws_clip *clip, int learning, int target, uint32_t *category) {
    const uint32_t neurons = net->neurons, words = EK_WORDS(net->neurons);
    memset(clip, 0, sizeof *clip);
    clip->potential = take(from, neurons, 4, category);
    clip->spikes = take(from, words, 4, category);
    clip->before = take(from, words, 4, category);
    if (learning) {
        clip->trace = take(from, neurons, 4, category);
    }
    if (!target) {
        clip->readout = take(from, net->outputs, 4, category);
        if (learning) {
            clip->delta = take(from, neurons, 4, category);
            clip->error = take(from, net->outputs, 4, category);
            clip->features = take(from, net->inputs, 4, category);
        }
    }
}

static uint32_t kept_bytes(const edgekws_net *net, uint32_t storage) {
    const uint32_t values = net->frames * net->spectrum.mels;
    return 4 * net->inputs + (storage == EDGEKWS_BYTES ? 4 * net->spectrum.mels + (values + 3) / 4 * 4 : 4 * values);
}

static void lay_out(edgekws_model *model, const edgekws_net *net, edgekws_plan plan, arena *from) {
    const uint32_t sizes[3] = {net->inputs * net->neurons, net->recurrent ? net->neurons * net->neurons : 0,
                               net->neurons * net->outputs};
    const uint32_t all = sizes[0] + sizes[1] + sizes[2];
    edgekws_usage *usage = &model->usage;
    edgekws_clip unused;
    uint32_t i;
    memset(model, 0, sizeof *model);
    model->net = net;
    model->plan = plan;
    model->mel = take(from, net->frames * net->spectrum.mels, 4, &usage->batch);
    model->deviation = take(from, net->inputs, 4, &usage->batch);
    model->features = take(from, 3 * net->inputs, 4, &usage->temporary);
    model->row = take(from, 4 * (net->neurons > net->outputs ? net->neurons : net->outputs), 4, &usage->temporary);
    model->fourier = take(from, 2 * net->spectrum.size, 4, &usage->temporary);
    model->window = take(from, net->spectrum.window, 2, &usage->temporary);
    take_clip(from, net, &model->state, 0, 0, &usage->traces);
    model->input = net->input;
    model->between = net->between;
    model->readout = net->readout;
    if (!plan.clips) {
        return;
    }
    for (i = 0; i < 3; i++) {
        model->trained[i].count = sizes[i];
        model->trained[i].weights = take(from, sizes[i], 4, &usage->parameters);
    }
    for (i = 0; i < 3 && plan.optimiser == EDGEKWS_ADAM; i++) {
        model->trained[i].mean = take(from, sizes[i], 4, &usage->optimiser);
        model->trained[i].square = take(from, sizes[i], 4, &usage->optimiser);
    }
    model->kept = take(from, plan.clips, kept_bytes(net, plan.storage), &usage->reservoir);
    model->kept_word = take(from, plan.clips, 4, &usage->reservoir);
    model->kept_time = take(from, plan.clips, 4, &usage->reservoir);
    model->order = take(from, plan.clips, 4, &usage->reservoir);
    if (plan.rule == EDGEKWS_BPTT) {
        model->gradient = take(from, all, 4, &usage->gradients);
        model->history = take(from, (uint64_t)net->frames * net->neurons, 4, &usage->activations);
        model->fired = take(from, (uint64_t)net->frames * EK_WORDS(net->neurons), 4, &usage->activations);
        model->backward = take(from, 2 * net->neurons + net->outputs, 4, &usage->activations);
        return;
    }
    model->clips = take(from, plan.batch, sizeof(edgekws_clip), &usage->traces);
    for (i = 0; i < plan.batch; i++) {
        take_clip(from, net, from->base ? model->clips + i : &unused, 1, 0, &usage->traces);
    }
    model->prototypes = take(from, net->words, sizeof(edgekws_clip), &usage->traces);
    for (i = 0; i < net->words; i++) {
        take_clip(from, net, from->base ? model->prototypes + i : &unused, 1, 1, &usage->traces);
    }
    model->counts = take(from, net->words, 4, &usage->traces);
    model->factors = take(from, 2 * net->words, 4, &usage->temporary);
}

static int sound(const edgekws_net *net, edgekws_plan *plan) {
    if (!net || net->kind != EDGEKWS_SPIKING || plan->optimiser > EDGEKWS_SGD || plan->storage > EDGEKWS_BYTES
        || plan->rule > EDGEKWS_BPTT || plan->clips > 65536 || plan->batch > plan->clips) {
        return 0;
    }
    plan->batch = plan->batch ? plan->batch : plan->clips;
    return 1;
}

uint32_t edgekws_needs(const edgekws_net *net, edgekws_plan plan) {
    edgekws_model model;
    arena counted = {NULL, 0};
    if (!sound(net, &plan)) {
        return 0;
    }
    lay_out(&model, net, plan, &counted);
    return counted.used > 0xFFFFFFFFu ? 0 : (uint32_t)counted.used;
}

int edgekws_start(edgekws_model *model, const edgekws_net *net, edgekws_plan plan, void *room, uint32_t bytes) {
    const uint32_t needed = edgekws_needs(net, plan);
    arena from = {room, 0};
    uint32_t i;
    if (!model || !needed || !sound(net, &plan)) {
        return net && net->kind == EDGEKWS_WAKE_WORD ? EDGEKWS_OTHER_KIND : EDGEKWS_BAD_ARGUMENT;
    }
    if (!room || (uintptr_t)room % 8 || bytes < needed) {
        return EDGEKWS_NO_ROOM;
    }
    memset(room, 0, needed);
    lay_out(model, net, plan, &from);
    model->usage.total = needed;
    for (i = 0; i < plan.clips; i++) {
        model->kept_word[i] = EDGEKWS_NO_WORD;
    }
    ek_reset_weights(model);
    return EDGEKWS_OK;
}

/* ------------------------------------------------------------------------------------------------ hearing */
int edgekws_hear(edgekws_model *model, const int16_t *samples, uint32_t count) {
    const edgekws_spectrum *of;
    uint32_t frame, i;
    int64_t offset;
    if (!model || !model->net || !samples || !count || count > 0x7FFFFFFFu) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    of = &model->net->spectrum;
    /* Where the clip begins in the recording; before it for a short one, which is set in the middle of zeros. */
    offset = count > model->net->samples ? (int64_t)ek_loudest(samples, count, model->net->samples, 1)
                                         : -(int64_t)((model->net->samples - count) / 2);
    for (frame = 0; frame < model->net->frames; frame++) {
        for (i = 0; i < of->window; i++) { /* frames are centred on every hop-th sample, zeros outside the clip */
            const int64_t place = (int64_t)frame * of->hop + i - of->window / 2, from = offset + place;
            model->window[i] = place >= 0 && place < model->net->samples && from >= 0 && from < count ? samples[from] : 0;
        }
        ek_mel_power(of, model->window, model->fourier, model->mel + frame * of->mels);
    }
    ek_log_mel(model->net, model->mel, model->deviation, model->features);
    model->heard = 1;
    return EDGEKWS_OK;
}

int edgekws_features(edgekws_model *model, uint32_t frame, float *features) {
    ek_mel mel = {NULL, NULL, NULL};
    if (!model || !features || !model->heard || frame >= model->net->frames) {
        return model && !model->heard ? EDGEKWS_NOTHING : EDGEKWS_BAD_ARGUMENT;
    }
    mel.f32 = model->mel;
    ek_frame(model->net, &mel, model->deviation, frame, model->features + model->net->inputs, features);
    return EDGEKWS_OK;
}

/* ------------------------------------------------------------------------------------------------ inference */
void ek_clear(const edgekws_net *net, edgekws_clip *clip) {
    memset(clip->potential, 0, net->neurons * sizeof(float));
    memset(clip->spikes, 0, EK_WORDS(net->neurons) * sizeof(uint32_t));
    if (clip->trace) {
        memset(clip->trace, 0, net->neurons * sizeof(float));
    }
    if (clip->readout) {
        memset(clip->readout, 0, net->outputs * sizeof(float));
    }
}

void ek_hidden(edgekws_model *model, const edgekws_matrix *input, const edgekws_matrix *between, edgekws_clip *clip,
               const float *features, uint32_t word, float *unreset) {
    const edgekws_net *net = model->net;
    uint32_t i, *swap = clip->before;
    clip->before = clip->spikes;
    clip->spikes = swap;
    for (i = 0; i < net->neurons; i++) {
        clip->potential[i] *= net->membrane_leak;
    }
    if (features) {
        ek_multiply(clip->potential, input, features, model->row);
    } else {
        ek_add(clip->potential, ek_row(input, word, model->row), 1.0f, net->neurons);
    }
    if (net->recurrent) {
        ek_multiply_spikes(clip->potential, between, clip->before, model->row);
    }
    memset(clip->spikes, 0, EK_WORDS(net->neurons) * sizeof(uint32_t));
    if (unreset) {
        memcpy(unreset, clip->potential, net->neurons * sizeof(float));
    }
    if (clip->delta) {
        for (i = 0; i < net->neurons; i++) {
            const float distance = (clip->potential[i] - net->threshold) * 3.14159265f;
            clip->delta[i] = 1.0f / (distance * distance + 1.0f) * net->surrogate_scale;
        }
    }
    for (i = 0; i < net->neurons; i++) {
        const int fires = clip->potential[i] >= net->threshold;
        clip->spikes[i / 32] |= (uint32_t)fires << i % 32;
        if (fires) {
            clip->potential[i] = net->soft_reset ? clip->potential[i] - net->threshold : 0.0f;
        }
        if (clip->trace) {
            clip->trace[i] = clip->trace[i] * net->trace_leak + (float)fires;
        }
    }
}

void ek_integrate(edgekws_model *model, edgekws_clip *clip) {
    uint32_t i;
    for (i = 0; i < model->net->outputs; i++) {
        clip->readout[i] *= model->net->output_leak;
    }
    ek_multiply_spikes(clip->readout, &model->readout, clip->spikes, model->row);
}

int edgekws_rest(edgekws_model *model) {
    if (!model || !model->net) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    ek_clear(model->net, &model->state);
    return EDGEKWS_OK;
}

int edgekws_step(edgekws_model *model, const float *features) {
    if (!model || !model->net || !features) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    if (!ek_finite(features, model->net->inputs)) {
        return EDGEKWS_NOT_FINITE;
    }
    ek_hidden(model, &model->input, &model->between, &model->state, features, 0, NULL);
    ek_integrate(model, &model->state);
    return EDGEKWS_OK;
}

int edgekws_predict(edgekws_model *model, float *potentials) {
    uint32_t frame, i, best = 0;
    int status;
    if (!model || !model->heard) {
        return model ? EDGEKWS_NOTHING : EDGEKWS_BAD_ARGUMENT;
    }
    edgekws_rest(model);
    for (frame = 0; frame < model->net->frames; frame++) {
        edgekws_features(model, frame, model->features);
        if ((status = edgekws_step(model, model->features)) != EDGEKWS_OK) {
            return status;
        }
    }
    if (!ek_finite(model->state.readout, model->net->outputs)) {
        return EDGEKWS_NOT_FINITE;
    }
    for (i = 0; i < model->net->outputs; i++) {
        if (model->state.readout[i] > model->state.readout[best]) {
            best = i;
        }
    }
    if (potentials) {
        memcpy(potentials, model->state.readout, model->net->outputs * sizeof(float));
    }
    return (int)best;
}

/* ------------------------------------------------------------------------------------------------ the reservoir */
static uint8_t *kept(const edgekws_model *model, uint32_t place) {
    return model->kept + (size_t)place * kept_bytes(model->net, model->plan.storage);
}

/* A clip in the reservoir: deviations, then frames as floats, or what a byte is worth in each band and bytes. */
static ek_mel kept_mel(const edgekws_model *model, uint32_t place, float **deviation) {
    ek_mel mel = {NULL, NULL, NULL};
    const uint8_t *at = kept(model, place);
    *deviation = (float *)at;
    at += 4 * model->net->inputs;
    if (model->plan.storage == EDGEKWS_BYTES) {
        mel.unit = (const float *)at;
        mel.bytes = at + 4 * model->net->spectrum.mels;
    } else {
        mel.f32 = (const float *)at;
    }
    return mel;
}

void ek_kept_frame(edgekws_model *model, uint32_t place, uint32_t frame, float *features) {
    float *deviation;
    const ek_mel mel = kept_mel(model, place, &deviation);
    ek_frame(model->net, &mel, deviation, frame, model->features, features);
}

/* Of the words with most clips the one that was kept first. */
static uint32_t oldest_of_most(const edgekws_model *model) {
    uint32_t place, other, best = 0, most = 0;
    for (place = 0; place < model->plan.clips; place++) {
        uint32_t count = 0;
        for (other = 0; other < model->plan.clips; other++) {
            count += model->kept_word[other] == model->kept_word[place];
        }
        if (count > most || (count == most && model->kept_time[place] < model->kept_time[best])) {
            most = count;
            best = place;
        }
    }
    return best;
}

int edgekws_keep(edgekws_model *model, uint32_t word, uint32_t *place) {
    const edgekws_net *net;
    uint32_t at, i;
    float *deviation;
    ek_mel mel;
    if (!model || !model->net || word >= model->net->words) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    if (!model->heard || !model->plan.clips || model->learning) {
        return model->heard ? EDGEKWS_FROZEN : EDGEKWS_NOTHING;
    }
    net = model->net;
    for (at = 0; at < model->plan.clips && model->kept_word[at] != EDGEKWS_NO_WORD; at++) {
    }
    if (at == model->plan.clips) {
        if (!place || (*place >= model->plan.clips && *place != EDGEKWS_NO_WORD)) {
            return EDGEKWS_FULL;
        }
        at = *place == EDGEKWS_NO_WORD ? oldest_of_most(model) : *place;
        model->kept_count--;
    }
    mel = kept_mel(model, at, &deviation);
    memcpy(deviation, model->deviation, net->inputs * sizeof(float));
    if (mel.f32) {
        memcpy((float *)mel.f32, model->mel, net->frames * net->spectrum.mels * sizeof(float));
    } else {
        float *unit = (float *)mel.unit;
        memset(unit, 0, net->spectrum.mels * sizeof(float));
        for (i = 0; i < net->frames * net->spectrum.mels; i++) {
            const uint32_t band = i % net->spectrum.mels;
            unit[band] = model->mel[i] > unit[band] * 255.0f ? model->mel[i] / 255.0f : unit[band];
        }
        for (i = 0; i < net->frames * net->spectrum.mels; i++) {
            const float worth = unit[i % net->spectrum.mels], value = worth > 0 ? model->mel[i] / worth + 0.5f : 0.0f;
            ((uint8_t *)mel.bytes)[i] = (uint8_t)(value < 255.0f ? value : 255.0f);
        }
    }
    model->kept_word[at] = word;
    model->kept_time[at] = model->kept_clock++;
    model->kept_count++;
    if (place) {
        *place = at;
    }
    return EDGEKWS_OK;
}

int edgekws_drop(edgekws_model *model, uint32_t place) {
    if (!model || place >= model->plan.clips || model->kept_word[place] == EDGEKWS_NO_WORD || model->learning) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    model->kept_word[place] = EDGEKWS_NO_WORD;
    model->kept_count--;
    return EDGEKWS_OK;
}

int edgekws_recall(edgekws_model *model, uint32_t place) {
    uint32_t frame, mels;
    float *deviation;
    ek_mel mel;
    if (!model || place >= model->plan.clips || model->kept_word[place] == EDGEKWS_NO_WORD) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    mels = model->net->spectrum.mels;
    mel = kept_mel(model, place, &deviation);
    memcpy(model->deviation, deviation, model->net->inputs * sizeof(float));
    for (frame = 0; frame < model->net->frames; frame++) {
        memcpy(model->mel + frame * mels, ek_mel_row(&mel, frame, mels, model->features), mels * sizeof(float));
    }
    model->heard = 1;
    return EDGEKWS_OK;
}
