/* What every target gives to the runner, and the runner to it. */
#ifndef EDGEKWS_RUNNER_H
#define EDGEKWS_RUNNER_H

#include <stdint.h>

void target_say(const char *text);
uint64_t target_instructions(void);     /* executed so far, as well as the target can tell; 0 where it cannot */

/* Runs a job (edgekws.embedded.run): clips to learn from and clips to predict. Says lines of "name values"; returns 0, or the
 * status that the library refused with. */
int run_job(const void *image, uint32_t image_bytes, const void *job, uint32_t job_bytes, void *arena, uint32_t room);

#endif
