/* Learning from the reservoir: Traces Propagation through prototypes, with an update in each frame
 * (edgekws.methods.traces_propagation.rule, section 2.8 of the paper), and back-propagation through time to compare with.
 *
 * The clips of a batch go through the net side by side, frame by frame. No gradient is ever stored whole: that of one row of
 * weights is summed over the clips and goes into the weights at once. Target paths of the classes are computed again in each
 * pass, where the host keeps them for all frames. */
#include "internal.h"

#define OFFSET 1e-9f /* inside the distance: see rule.py */

/* ------------------------------------------------------------------------------------------------ optimisers */
/* Adam as torch's fused kernel has it: beta 0.9 and 0.999, epsilon 1e-8; `correction` is 1 - beta^t. Or plain descent. */
static void update(edgekws_model *model, edgekws_trained *trained, uint32_t first, const float *gradient, uint32_t count) {
    float *restrict weights = trained->weights + first, *restrict mean = trained->mean + first,
          *restrict square = trained->square + first;
    const float rate = model->rate / model->correction[0], root = ek_sqrt(model->correction[1]);
    uint32_t i;
    if (model->plan.optimiser == EDGEKWS_SGD) {
        ek_add(trained->weights + first, gradient, -model->rate, count);
        return;
    }
    for (i = 0; i < count; i++) {
        const float g = gradient[i];
        mean[i] += 0.1f * (g - mean[i]);
        square[i] = square[i] * 0.999f + 0.001f * g * g;
        weights[i] -= rate * (mean[i] / (ek_sqrt(square[i]) / root + 1e-8f));
    }
}

static void next_update(edgekws_model *model) {
    model->correction[0] = model->correction[0] * 0.9f + 0.1f;
    model->correction[1] = model->correction[1] * 0.999f + 0.001f;
}

void ek_reset_weights(edgekws_model *model) {
    const edgekws_net *net = model->net;
    const edgekws_matrix *from[3] = {&net->input, &net->between, &net->readout};
    edgekws_matrix *own[3] = {&model->input, &model->between, &model->readout};
    uint32_t i, row;
    for (i = 0; model->plan.clips && i < 3; i++) {
        for (row = 0; model->trained[i].count && row < from[i]->from; row++) {
            float *to = model->trained[i].weights + (size_t)row * from[i]->to;
            memcpy(to, ek_row(from[i], row, model->row), from[i]->to * sizeof(float));
        }
        own[i]->from = from[i]->from;
        own[i]->to = from[i]->to;
        own[i]->f32 = model->trained[i].weights;
        own[i]->i8 = NULL;
        own[i]->scale = NULL;
    }
}

int edgekws_undo(edgekws_model *model) {
    if (!model || !model->plan.clips) {
        return model ? EDGEKWS_FROZEN : EDGEKWS_BAD_ARGUMENT;
    }
    model->learning = 0;
    ek_reset_weights(model);
    return EDGEKWS_OK;
}

/* ------------------------------------------------------------------------------------------------ batches */
static uint32_t draw(edgekws_model *model, uint32_t below) { /* xorshift (Marsaglia 2003) */
    model->random ^= model->random << 13;
    model->random ^= model->random >> 17;
    model->random ^= model->random << 5;
    return model->random % below;
}

static void begin_epoch(edgekws_model *model) {
    const edgekws_budget *budget = &model->budget;
    uint32_t place, count = 0, i;
    for (place = 0; place < model->plan.clips; place++) {
        if (model->kept_word[place] != EDGEKWS_NO_WORD) {
            model->order[count++] = place;
        }
    }
    for (i = count - 1; i; i--) {
        const uint32_t other = draw(model, i + 1), swap = model->order[i];
        model->order[i] = model->order[other];
        model->order[other] = swap;
    }
    model->rate = budget->rate
                  * (0.25f + 0.75f * (1.0f + ek_cosine(3.14159265f * (float)model->epoch / (float)budget->epochs)) / 2.0f);
    model->first = 0;
}

static void begin_batch(edgekws_model *model) {
    const edgekws_net *net = model->net;
    const uint32_t left = model->kept_count - model->first;
    uint32_t i;
    model->size = left < model->budget.batch ? left : model->budget.batch;
    model->next = 0;
    model->label_trace = 0;
    if (model->plan.rule == EDGEKWS_BPTT) {
        memset(model->gradient, 0,
               (model->trained[0].count + model->trained[1].count + model->trained[2].count) * sizeof(float));
        return;
    }
    memset(model->counts, 0, net->words * sizeof(uint32_t));
    for (i = 0; i < model->size; i++) {
        ek_clear(net, &model->clips[i]);
        model->clips[i].place = model->order[model->first + i];
        model->counts[model->kept_word[model->clips[i].place]]++;
    }
    for (i = 0; i < net->words; i++) {
        ek_clear(net, &model->prototypes[i]);
    }
}

int edgekws_learn(edgekws_model *model, edgekws_budget budget) {
    uint32_t i;
    if (!model || !model->plan.clips) {
        return model ? EDGEKWS_FROZEN : EDGEKWS_BAD_ARGUMENT;
    }
    if (!ek_finite(&budget.rate, 1) || budget.rate < 0 || !budget.epochs || budget.batch > model->plan.batch) {
        return EDGEKWS_BAD_ARGUMENT;
    }
    if (!model->kept_count) {
        return EDGEKWS_NOTHING;
    }
    model->budget = budget;
    model->budget.batch = budget.batch ? budget.batch : model->plan.batch;
    model->random = budget.seed * 2654435769u + 0x9E3779B9u;
    model->random = model->random ? model->random : 1;
    model->epoch = 0;
    model->correction[0] = model->correction[1] = 0;
    for (i = 0; i < 3 && model->plan.optimiser == EDGEKWS_ADAM; i++) {
        memset(model->trained[i].mean, 0, model->trained[i].count * sizeof(float));
        memset(model->trained[i].square, 0, model->trained[i].count * sizeof(float));
    }
    begin_epoch(model);
    begin_batch(model);
    model->learning = 1;
    return EDGEKWS_MORE;
}

/* To the next batch or epoch; whether there is one. */
static int go_on(edgekws_model *model) {
    model->first += model->size;
    if (model->first == model->kept_count) {
        if (++model->epoch == model->budget.epochs) {
            model->learning = 0;
            return EDGEKWS_OK;
        }
        begin_epoch(model);
    }
    begin_batch(model);
    return EDGEKWS_MORE;
}

/* ------------------------------------------------------------------------------------------------ Traces Propagation */
/* Third factor of one clip: (softmax(z + log n) - wanted) / B over the classes in the batch, [words]. */
static void third_factor(edgekws_model *model, const edgekws_clip *clip, float other, float *factor) {
    const edgekws_net *net = model->net;
    const uint32_t own = model->kept_word[clip->place];
    float *wanted = model->factors + net->words, total = 0;
    uint32_t c, present = 0;
    for (c = 0; c < net->words; c++) {
        if (model->counts[c]) {
            const float count = (float)model->counts[c];
            factor[present] = ek_dot(clip->trace, model->prototypes[c].trace, net->neurons) + ek_log(count);
            wanted[present] = c == own ? count : count * other;
            total += wanted[present++];
        }
    }
    ek_softmax(factor, present);
    for (c = 0; c < present; c++) {
        factor[c] = (factor[c] - wanted[c] / total) / (float)model->size;
    }
}

static void advance(edgekws_model *model) {
    const edgekws_net *net = model->net;
    float between, other, *factor = model->factors, *sum = model->row;
    uint32_t b, c, i, present;
    for (c = 0; c < net->words; c++) {
        if (model->counts[c]) {
            ek_hidden(model, &net->label, &net->label_between, &model->prototypes[c], NULL, c, NULL);
        }
    }
    model->label_trace = net->trace_leak * model->label_trace + 1.0f;
    between = ek_sqrt(2.0f * model->label_trace * model->label_trace + (float)net->outputs * OFFSET * OFFSET);
    other = ek_exp(ek_sqrt((float)net->outputs) * OFFSET - between);
    for (b = 0; b < model->size; b++) {
        edgekws_clip *clip = &model->clips[b];
        ek_kept_frame(model, clip->place, model->next, clip->features);
        ek_hidden(model, &model->input, &model->between, clip, clip->features, 0, NULL);
        ek_integrate(model, clip);
        third_factor(model, clip, other, factor);
        memset(sum, 0, net->neurons * sizeof(float));
        for (c = present = 0; c < net->words; c++) {
            if (model->counts[c]) {
                ek_add(sum, model->prototypes[c].trace, factor[present++], net->neurons);
            }
        }
        for (i = 0; i < net->neurons; i++) {
            clip->delta[i] *= sum[i];
        }
        memcpy(clip->error, clip->readout, net->outputs * sizeof(float));
        ek_softmax(clip->error, net->outputs);
        clip->error[model->kept_word[clip->place]] -= 1.0f;
        for (i = 0; i < net->outputs; i++) {
            clip->error[i] /= (float)model->size;
        }
    }
}

/* Gradients of all weights, row by row, each added to its weights at once. */
static void change_weights(edgekws_model *model) {
    const edgekws_net *net = model->net;
    float *gradient = model->row;
    uint32_t from, b;
    next_update(model);
    for (from = 0; from < net->inputs; from++) {
        memset(gradient, 0, net->neurons * sizeof(float));
        for (b = 0; b < model->size; b++) {
            ek_add(gradient, model->clips[b].delta, model->clips[b].features[from], net->neurons);
        }
        update(model, &model->trained[0], from * net->neurons, gradient, net->neurons);
    }
    for (from = 0; net->recurrent && from < net->neurons; from++) {
        memset(gradient, 0, net->neurons * sizeof(float));
        for (b = 0; b < model->size; b++) {
            if (model->clips[b].before[from / 32] >> from % 32 & 1) {
                ek_add(gradient, model->clips[b].delta, 1.0f, net->neurons);
            }
        }
        update(model, &model->trained[1], from * net->neurons, gradient, net->neurons);
    }
    for (from = 0; from < net->neurons; from++) {
        memset(gradient, 0, net->outputs * sizeof(float));
        for (b = 0; b < model->size; b++) {
            ek_add(gradient, model->clips[b].error, model->clips[b].trace[from], net->outputs);
        }
        update(model, &model->trained[2], from * net->outputs, gradient, net->outputs);
    }
}

/* ------------------------------------------------------------------------------------------------ BPTT */
/* Gradient of a clip's cross-entropy after its last frame, in Norse's neuron: SuperSpike's surrogate, and a reset that carries
 * a gradient (edgekws.neurons.norse_twin). Clips add up, so only one is in memory. */
static void back_propagate(edgekws_model *model) {
    const edgekws_net *net = model->net;
    const uint32_t neurons = net->neurons, words = EK_WORDS(neurons), place = model->order[model->first + model->next];
    float *later = model->backward, *now = later + neurons, *error = now + neurons, *swap;
    float *features = model->features + 2 * net->inputs;
    float *gradients[3];
    uint32_t t, i, o;
    gradients[0] = model->gradient;
    gradients[1] = gradients[0] + model->trained[0].count;
    gradients[2] = gradients[1] + model->trained[1].count;
    ek_clear(net, &model->state);
    for (t = 0; t < net->frames; t++) {
        ek_kept_frame(model, place, t, features);
        ek_hidden(model, &model->input, &model->between, &model->state, features, 0, model->history + t * neurons);
        ek_integrate(model, &model->state);
        memcpy(model->fired + t * words, model->state.spikes, words * sizeof(uint32_t));
    }
    memcpy(error, model->state.readout, net->outputs * sizeof(float));
    ek_softmax(error, net->outputs);
    error[model->kept_word[place]] -= 1.0f;
    for (o = 0; o < net->outputs; o++) {
        error[o] /= (float)model->size;
    }
    memset(later, 0, neurons * sizeof(float)); /* gradient by the potentials of the frame after this one */
    for (t = net->frames; t--;) {
        const float *potential = model->history + t * neurons;
        const uint32_t *fired = model->fired + t * words;
        for (i = 0; i < neurons; i++) {
            const float distance = potential[i] - net->threshold, slope = 1.0f + (distance < 0 ? -distance : distance);
            const float surrogate = 1.0f / (slope * slope), spike = (float)(fired[i / 32] >> i % 32 & 1);
            const float through = net->soft_reset ? 1.0f - net->threshold * surrogate : 1.0f - spike - potential[i] * surrogate;
            float by_spike = ek_dot(model->readout.f32 + i * net->outputs, error, net->outputs);
            if (net->recurrent) {
                by_spike += ek_dot(model->between.f32 + (size_t)i * neurons, later, neurons);
            }
            now[i] = surrogate * by_spike + net->membrane_leak * later[i] * through;
            if (spike > 0) {
                ek_add(gradients[2] + i * net->outputs, error, 1.0f, net->outputs);
            }
        }
        ek_kept_frame(model, place, t, features);
        for (i = 0; i < net->inputs; i++) {
            ek_add(gradients[0] + (size_t)i * neurons, now, features[i], neurons);
        }
        for (i = 0; net->recurrent && t && i < neurons; i++) {
            if (fired[(ptrdiff_t)(i / 32) - (ptrdiff_t)words] >> i % 32 & 1) {
                ek_add(gradients[1] + (size_t)i * neurons, now, 1.0f, neurons);
            }
        }
        for (o = 0; o < net->outputs; o++) {
            error[o] *= net->output_leak;
        }
        swap = later;
        later = now;
        now = swap;
    }
}

static int back_propagation_step(edgekws_model *model) {
    uint32_t which;
    float *gradient = model->gradient;
    back_propagate(model);
    if (++model->next < model->size) {
        return EDGEKWS_MORE;
    }
    next_update(model);
    for (which = 0; which < 3; which++) {
        update(model, &model->trained[which], 0, gradient, model->trained[which].count);
        gradient += model->trained[which].count;
    }
    return go_on(model);
}

int edgekws_learn_step(edgekws_model *model) {
    if (!model || !model->learning) {
        return EDGEKWS_NOTHING;
    }
    if (model->plan.rule == EDGEKWS_BPTT) {
        return back_propagation_step(model);
    }
    advance(model);
    change_weights(model);
    return ++model->next < model->net->frames ? EDGEKWS_MORE : go_on(model);
}
