/* A job for a device: predict, learn, predict again, and tell what came out, bit for bit, and what it took. */
#include "../edgekws.h"
#include "runner.h"

#define JOB 0x424F4A45u /* "EJOB" */

/* As the exporter writes it; then the clips: word (or EDGEKWS_NO_WORD: only predicted), number of samples, samples padded to
 * four bytes. */
typedef struct {
    uint32_t magic, clips, queries;
    uint32_t optimiser, storage, rule, batch, epochs, seed;
    float rate;
    uint32_t repeats, spare;
} job_header;

typedef struct {
    uint64_t hash;
} fnv; /* FNV-1a */

static void mix(fnv *into, const void *bytes, uint32_t count) {
    const uint8_t *from = bytes;
    while (count--) {
        into->hash = (into->hash ^ *from++) * 1099511628211u;
    }
}

static void start(fnv *of) {
    of->hash = 14695981039346656037u;
}

static void say_number(uint64_t value, uint32_t digits) {
    static const char hex[] = "0123456789abcdef";
    char text[18];
    uint32_t i;
    for (i = 0; i < digits; i++) {
        text[digits - 1 - i] = hex[value & 15];
        value >>= 4;
    }
    text[digits] = 0;
    target_say(text);
}

static void say(const char *name, uint64_t value) {
    target_say(name);
    target_say(" ");
    say_number(value, 16);
    target_say("\n");
}

typedef struct {
    uint32_t word, samples;
    const int16_t *pcm;
} recording;

/* The next recording of a job, or 0 where the job ends. */
static int next_recording(const uint8_t **at, const uint8_t *end, recording *found) {
    const uint32_t *head = (const uint32_t *)*at;
    if (end - *at < 8 || head[1] > (uint32_t)(end - *at - 8) / 2) {
        return 0;
    }
    found->word = head[0];
    found->samples = head[1];
    found->pcm = (const int16_t *)(*at + 8);
    *at += 8 + (2 * found->samples + 3) / 4 * 4;
    return 1;
}

static int append(void *to, const void *bytes, uint32_t count) {
    mix(to, bytes, count);
    return 0;
}

/* Predictions of the job's queries, a digit each, and a hash of the potentials after every frame. */
static int predict_all(edgekws_model *model, const uint8_t *at, const uint8_t *end, const job_header *job, const char *when) {
    uint64_t heard = 0, framed = 0, before;
    uint32_t i, frame, output;
    recording query;
    fnv potentials;
    int status;
    start(&potentials);
    target_say("predictions_");
    target_say(when);
    target_say(" ");
    for (i = 0; i < job->clips + job->queries; i++) {
        uint32_t best = 0;
        if (!next_recording(&at, end, &query)) {
            return EDGEKWS_BAD_ARGUMENT;
        }
        if (i < job->clips) {
            continue;
        }
        before = target_instructions();
        if ((status = edgekws_hear(model, query.pcm, query.samples)) != EDGEKWS_OK) {
            return status;
        }
        heard += target_instructions() - before;
        edgekws_rest(model);
        for (frame = 0; frame < model->net->frames; frame++) {
            before = target_instructions();
            edgekws_features(model, frame, model->features);
            if ((status = edgekws_step(model, model->features)) != EDGEKWS_OK) {
                return status;
            }
            framed += target_instructions() - before;
            mix(&potentials, model->state.readout, 4 * model->net->outputs);
        }
        for (output = 1; output < model->net->outputs; output++) {
            best = model->state.readout[output] > model->state.readout[best] ? output : best;
        }
        say_number(best, 2);
    }
    target_say("\n");
    target_say(when);
    say("_potentials", potentials.hash);
    target_say(when);
    say("_hear_instructions", heard); /* of all queries */
    target_say(when);
    say("_frame_instructions", framed); /* of all their frames */
    return EDGEKWS_OK;
}

static void say_usage(const edgekws_usage *usage) {
    say("parameters_bytes", usage->parameters);
    say("gradients_bytes", usage->gradients);
    say("optimiser_bytes", usage->optimiser);
    say("traces_bytes", usage->traces);
    say("activations_bytes", usage->activations);
    say("batch_bytes", usage->batch);
    say("reservoir_bytes", usage->reservoir);
    say("temporary_bytes", usage->temporary);
    say("arena_bytes", usage->total);
}

static int spiking(const edgekws_net *net, const uint8_t *at, const uint8_t *end, const job_header *job, void *arena,
                   uint32_t room) {
    static edgekws_model model;
    const edgekws_plan plan = {job->clips, job->batch, job->optimiser, job->storage, job->rule};
    const edgekws_budget budget = {job->rate, job->epochs, 0, job->seed};
    const uint8_t *first = at;
    uint64_t before, spent, most = 0;
    uint32_t i, steps = 0;
    recording clip;
    fnv hash;
    int status = edgekws_start(&model, net, plan, arena, room);
    if (status != EDGEKWS_OK) {
        return status;
    }
    say_usage(&model.usage);
    if ((status = predict_all(&model, first, end, job, "before")) != EDGEKWS_OK || !job->clips) {
        return status;
    }
    for (i = 0; i < job->clips; i++) {
        if (!next_recording(&at, end, &clip)) {
            return EDGEKWS_BAD_ARGUMENT;
        }
        if ((status = edgekws_hear(&model, clip.pcm, clip.samples)) != EDGEKWS_OK
            || (status = edgekws_keep(&model, clip.word, NULL)) != EDGEKWS_OK) {
            return status;
        }
    }
    before = target_instructions();
    status = edgekws_learn(&model, budget);
    while (status == EDGEKWS_MORE) {
        spent = target_instructions();
        status = edgekws_learn_step(&model);
        spent = target_instructions() - spent;
        most = spent > most ? spent : most;
        steps++;
    }
    if (status != EDGEKWS_OK) {
        return status;
    }
    say("learn_steps", steps);
    say("learn_instructions", target_instructions() - before);
    say("step_instructions", most);
    for (i = 0; i < 3; i++) {
        start(&hash);
        mix(&hash, model.trained[i].weights, 4 * model.trained[i].count);
        say("weights", hash.hash);
    }
    for (i = 0; i < 2; i++) {
        start(&hash);
        if ((status = edgekws_save(&model, i, append, &hash)) != EDGEKWS_OK) {
            return status;
        }
        say("delta", hash.hash);
    }
    return predict_all(&model, first, end, job, "after");
}

int run_job(const void *image, uint32_t image_bytes, const void *job, uint32_t job_bytes, void *arena, uint32_t room) {
    static edgekws_net net;
    const job_header *header = job;
    const uint8_t *at = (const uint8_t *)job + sizeof *header, *end = (const uint8_t *)job + job_bytes;
    int status = edgekws_open(&net, image, image_bytes);
    if (status == EDGEKWS_OK && (job_bytes < sizeof *header || header->magic != JOB)) {
        status = EDGEKWS_BAD_ARGUMENT;
    }
    if (status == EDGEKWS_OK) {
        status = net.kind == EDGEKWS_SPIKING ? spiking(&net, at, end, header, arena, room) : EDGEKWS_OTHER_KIND;
    }
    if (status != EDGEKWS_OK) {
        target_say("\nerror ");
        target_say(edgekws_message(status));
        target_say("\n");
        return status;
    }
    return 0;
}
