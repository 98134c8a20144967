/* edgekws: keyword spotting that learns on the device. C99, no heap, no globals, no library but memcpy and memset.
 *
 * A model comes as an image (`edgekws embedded export`), which may stay in flash. What changes lives in one arena that the
 * caller provides: edgekws_needs() tells its bytes. Sound is 16-bit, mono, 16 kHz. Everything but pointers is the same on every
 * target, bit for bit: floats are IEEE single precision, added in a fixed order and never contracted (-ffp-contract=off).
 *
 * Spiking net (Traces Propagation):
 *     edgekws_net net;  edgekws_model model;
 *     edgekws_open(&net, image, bytes);                 checks the image, keeps pointers into it
 *     edgekws_start(&model, &net, plan, arena, room);   at least edgekws_needs(&net, plan) bytes, aligned to 8
 *     edgekws_hear(&model, samples, n);                 a recording of one word
 *     edgekws_predict(&model, potentials);              number of its word
 *     edgekws_keep(&model, word, &place);               put it into the reservoir
 *     edgekws_learn(&model, budget);  while (edgekws_learn_step(&model) == 1) {}
 *     edgekws_save(&model, ...);  edgekws_load(&model, ...);  edgekws_undo(&model);
 *
 * Functions return a status; all but EDGEKWS_OK and EDGEKWS_MORE are errors, and edgekws_message() says what to do.
 */
#ifndef EDGEKWS_H
#define EDGEKWS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EDGEKWS_OK = 0,
    EDGEKWS_MORE = 1,          /* not an error: there is more to do */
    EDGEKWS_BAD_IMAGE = -1,
    EDGEKWS_BAD_VERSION = -2,
    EDGEKWS_DAMAGED = -3,
    EDGEKWS_OTHER_KIND = -4,
    EDGEKWS_NO_ROOM = -5,
    EDGEKWS_BAD_ARGUMENT = -6,
    EDGEKWS_NOT_FINITE = -7,
    EDGEKWS_FULL = -8,
    EDGEKWS_NOTHING = -9,
    EDGEKWS_BAD_DELTA = -10,
    EDGEKWS_OTHER_BASE = -11,
    EDGEKWS_FROZEN = -12,
    EDGEKWS_NOT_WRITTEN = -13,
    EDGEKWS_TOO_ALIKE = -14
} edgekws_status;

/* What went wrong and what to do, in English, without a full stop. Never NULL. */
const char *edgekws_message(int status);

/* ------------------------------------------------------------------------------------------------ images */
typedef enum { EDGEKWS_SPIKING = 1, EDGEKWS_WAKE_WORD = 2 } edgekws_kind;

/* Weights as they lie in an image or in the arena, [from][to]: one of f32 and i8 is set. An int8 weight q of column t is worth
 * q * scale[t], which is exact in single precision. */
typedef struct {
    uint32_t from, to;
    const float *f32;
    const int8_t *i8;
    const float *scale;
} edgekws_matrix;

/* Constants of a spectrum: a window in the middle of a power of 2, 3 and 5, and mel filters over its bins. */
typedef struct {
    uint32_t window, size, hop, mels, reach;
    uint8_t radices[12];
    const int32_t *hann;       /* [window], 2^30 is 1 */
    const int32_t *cosines;    /* [size], cos(2 pi k / size), 2^30 is 1 */
    const uint16_t *bands;     /* [mels][2]: first bin, number of bins */
    const float *filters;      /* weights of the first band's bins, then of the next's */
} edgekws_spectrum;

#define EDGEKWS_BLOCKS 8

/* A convolution of the wake-word encoder, batch normalisation folded in. Depthwise: [3 * 3][channels]. */
typedef struct {
    edgekws_matrix weights;
    const float *bias;
} edgekws_layer;

/* An image that was opened: sizes and constants, and pointers into it. It must stay where it is. */
typedef struct {
    uint32_t kind;
    uint32_t samples;          /* of a clip: one second */
    uint32_t frames;           /* of a clip */
    edgekws_spectrum spectrum;

    /* spiking */
    uint32_t inputs, neurons, outputs, words;
    uint32_t width;            /* frames in the window of the differences */
    uint32_t recurrent, soft_reset;
    float membrane_leak, trace_leak, output_leak, threshold, surrogate_scale;
    const float *differences;  /* [width][2][width]: of the first frames, of one in the middle, of the last frames */
    const float *scale;        /* [inputs]: divisors of the features */
    edgekws_matrix input, between, readout, label, label_between;
    const char *vocabulary;    /* the words, each ended by a zero byte */
    const char *base;          /* [64] checksum of the base, hexadecimal: what a delta is for */
    const char *header[2];     /* headers of a delta's file, fp32 and int8 */
    uint32_t header_bytes[2];

    /* wake word */
    uint32_t coefficients, blocks, embedding;
    uint32_t stride[2];        /* over the coefficients in the first convolution; of the first depthwise one */
    uint32_t left;             /* columns of zeros before the coefficients */
    uint32_t step;             /* samples between windows */
    const float *transform;    /* [mels][coefficients]: cosine transform */
    edgekws_layer stem, depthwise[EDGEKWS_BLOCKS], pointwise[EDGEKWS_BLOCKS];
    const float *wake_word;    /* prototype [embedding], filter, detection; NULL where the model knows none */
} edgekws_net;

/* Check an image and keep pointers into it. `image` must be aligned to 4 bytes. */
int edgekws_open(edgekws_net *net, const void *image, uint32_t bytes);

/* Name of a word or output; NULL for one that has none. */
const char *edgekws_word(const edgekws_net *net, uint32_t word);

/* 16-bit samples from floats of full scale 1; values beyond are clipped. Error: a value is not finite. */
int edgekws_pcm(const float *samples, uint32_t count, int16_t *pcm);

/* ------------------------------------------------------------------------------------------------ spiking net */
typedef enum { EDGEKWS_ADAM = 0, EDGEKWS_SGD = 1 } edgekws_optimiser;
typedef enum { EDGEKWS_TRACES = 0, EDGEKWS_BPTT = 1 } edgekws_rule;
typedef enum { EDGEKWS_EXACT = 0, EDGEKWS_BYTES = 1 } edgekws_storage;

/* What the arena is to be laid out for. All zero: inference only, with the weights of the image. */
typedef struct {
    uint32_t clips;            /* in the reservoir; 0: no learning */
    uint32_t batch;            /* clips that are learnt from together, at most; 0: all of the reservoir */
    uint32_t optimiser;        /* edgekws_optimiser */
    uint32_t storage;          /* edgekws_storage of the reservoir: log-mel frames as floats, or in a byte each */
    uint32_t rule;             /* edgekws_rule: BPTT is there to be compared with */
} edgekws_plan;

/* A person's budget: as `edgekws traces-propagation personalise`. */
typedef struct {
    float rate;                /* of the first epoch; falls by half a cosine towards a quarter */
    uint32_t epochs;
    uint32_t batch;            /* clips in a batch; 0: as many as the plan allows */
    uint32_t seed;             /* of the order of the clips */
} edgekws_budget;

/* Bytes of an arena by what they are for: the categories of the bench (methods/alternatives/memory.py). */
typedef struct {
    uint32_t parameters, gradients, optimiser, traces, activations, batch, reservoir, temporary, total;
} edgekws_usage;

/* The state of one clip in a batch. Bits: a neuron each. */
typedef struct {
    float *potential, *trace, *delta, *features, *readout, *error;
    uint32_t *spikes, *before;
    uint32_t place;
} edgekws_clip;

typedef struct {
    float *weights, *mean, *square;   /* [from][to], Adam's moments */
    uint32_t count;
} edgekws_trained;

/* A net at work. The fields are the library's; read what you like. */
typedef struct {
    const edgekws_net *net;
    edgekws_plan plan;
    edgekws_usage usage;

    float *mel;                /* [frames][mels]: of the clip heard last */
    float *deviation;          /* [inputs] */
    float *features;           /* [3][inputs]: of one frame, and scratch */
    float *row;                /* [4][neurons or outputs]: rows of int8 weights, gradients */
    int32_t *fourier;          /* [2][size]: work space of a spectrum */
    int16_t *window;           /* [window]: samples of one frame */
    edgekws_clip state;        /* of inference */
    int heard;

    edgekws_matrix input, between, readout;
    edgekws_trained trained[3];
    uint8_t *kept;             /* [clips]: the reservoir */
    uint32_t *kept_word;       /* [clips]: word, or EDGEKWS_NO_WORD */
    uint32_t *kept_time;       /* [clips]: which came first */
    uint32_t kept_count, kept_clock;
    uint32_t *order;           /* [clips]: in which they are learnt from */
    edgekws_clip *clips;       /* [batch] */
    edgekws_clip *prototypes;  /* [words]: the target path of each class */
    uint32_t *counts;          /* [words]: clips of each class in the batch */
    float *factors;            /* [2][words]: third factor, and what it is made of */
    float *history;            /* BPTT: [frames][neurons] potentials */
    uint32_t *fired;           /* BPTT: [frames][neurons / 32] spikes */
    float *backward;           /* BPTT: [2][neurons] and [outputs] */
    float *gradient;           /* BPTT: of all weights */
    edgekws_budget budget;
    uint32_t learning, epoch, first, size, next;   /* next: frame, or clip of BPTT */
    uint32_t random;
    float rate, label_trace, correction[2];
} edgekws_model;

#define EDGEKWS_NO_WORD 0xFFFFFFFFu

/* Bytes of the arena for a plan; 0 for a plan that is not possible. */
uint32_t edgekws_needs(const edgekws_net *net, edgekws_plan plan);

/* Lay out the arena, with the weights of the image. Errors: the arena is too small or not aligned to 8 bytes. */
int edgekws_start(edgekws_model *model, const edgekws_net *net, edgekws_plan plan, void *arena, uint32_t room);

/* A recording of one word: shorter than a second it is set in the middle of zeros, of a longer one the second of most
 * energy counts. */
int edgekws_hear(edgekws_model *model, const int16_t *samples, uint32_t count);

/* One frame of features from floats, in place of edgekws_hear: edgekws_rest() first, then edgekws_step() for each. The
 * potentials [outputs] are those of model->state.readout. */
int edgekws_rest(edgekws_model *model);
int edgekws_step(edgekws_model *model, const float *features);

/* Features [inputs] of a frame of the clip heard last, scaled as the net takes them. */
int edgekws_features(edgekws_model *model, uint32_t frame, float *features);

/* Run the net over the clip heard last. `potentials` [outputs] may be NULL. Returns the number of the output of the highest
 * potential, or an error. */
int edgekws_predict(edgekws_model *model, float *potentials);

/* Put the clip heard last into the reservoir as a recording of `word`. Where it is full, and `place` is not NULL and names a
 * place in it, that clip is replaced; with EDGEKWS_NO_WORD in it the oldest of the words that have most. `place` tells where. */
int edgekws_keep(edgekws_model *model, uint32_t word, uint32_t *place);
int edgekws_drop(edgekws_model *model, uint32_t place);

/* Hear a clip of the reservoir again. */
int edgekws_recall(edgekws_model *model, uint32_t place);

/* Begin to learn from the reservoir, with fresh optimiser state. Then one step for each frame (BPTT: for each clip), until it
 * returns EDGEKWS_OK; EDGEKWS_MORE says that there is more. */
int edgekws_learn(edgekws_model *model, edgekws_budget budget);
int edgekws_learn_step(edgekws_model *model);

/* Back to the base's weights; the reservoir stays. */
int edgekws_undo(edgekws_model *model);

/* ------------------------------------------------------------------------------------------------ deltas */
typedef enum { EDGEKWS_FP32 = 0, EDGEKWS_INT8 = 1 } edgekws_precision;

/* Takes some bytes of a file, in order; returns 0, or another number to stop. */
typedef int (*edgekws_write)(void *to, const void *bytes, uint32_t count);

/* The file that `edgekws delta apply` takes: what the user's learning changed. */
uint32_t edgekws_delta_bytes(const edgekws_model *model, uint32_t precision);
int edgekws_save(edgekws_model *model, uint32_t precision, edgekws_write write, void *to);

/* Weights of the base with a delta over them: of edgekws_save or of `edgekws delta diff`. On an error the model is as it was. */
int edgekws_load(edgekws_model *model, const void *file, uint32_t bytes);

/* ------------------------------------------------------------------------------------------------ wake word */
#define EDGEKWS_FILTERS 5 /* moving averages tried: over 1 to 5 windows */

/* A wake word found. */
typedef struct {
    uint32_t end;              /* sample of the sound, from its first one, at which the window ends that matched */
    float distance;            /* filtered squared distance from the prototype, 0 to 4 */
} edgekws_detection;

/* An encoder at work. The fields are the library's; read what you like. */
typedef struct {
    const edgekws_net *net;
    float *maps, *other, *row; /* [places][channels], the same, [4][channels] */
    float *levels, *mfcc;      /* [frames][mels], [frames][coefficients] */
    int32_t *fourier;
    int16_t *second;           /* [samples]: the last second */
    float *embedding, *prototype;
    uint32_t filter;           /* 0: no wake word is known */
    float detection;           /* threshold */
    uint32_t taught, compared;
    float farthest[EDGEKWS_FILTERS], nearest[EDGEKWS_FILTERS], recent[EDGEKWS_FILTERS];
    uint32_t windows, filled, listening;
    uint32_t in_run, lowest_window, detected, last;
    float lowest;
} edgekws_ear;

uint32_t edgekws_ear_needs(const edgekws_net *net);
int edgekws_ear_start(edgekws_ear *ear, const edgekws_net *net, void *arena, uint32_t room);

/* Embedding [embedding], of length 1, of a second of sound. */
int edgekws_ear_embed(edgekws_ear *ear, const int16_t *second, float *embedding);

/* A wake word of one's own, without training (`edgekws onda enrol`): teach each recording of it, then compare each of them, and
 * each of some other speech, and calibrate. The threshold lies above the farthest recording by `share` of the gap, `cap` at
 * most. Comparing ends what listening was going on. */
int edgekws_ear_teach(edgekws_ear *ear, const int16_t *samples, uint32_t count);
int edgekws_ear_compare(edgekws_ear *ear, const int16_t *samples, uint32_t count, int is_wake_word);
int edgekws_ear_calibrate(edgekws_ear *ear, float share, float cap);

/* Listen on: EDGEKWS_MORE says that the wake word was found, and `taken` how many of the samples were heard; go on with the
 * rest. A detection comes when its run of near windows is over, and not within a second after another. At the end of the sound
 * give a second of zeros, then finish. */
int edgekws_ear_listen(edgekws_ear *ear, const int16_t *samples, uint32_t count, uint32_t *taken, edgekws_detection *found);
int edgekws_ear_finish(edgekws_ear *ear, edgekws_detection *found);

#ifdef __cplusplus
}
#endif
#endif
