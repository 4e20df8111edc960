/* Two pinned buffers by turns: the host fills one while the other is on its way. */
#include "kernels/cuda/cuda.h"

struct cuda_stage *cuda_stage_next(device *d)
{
    struct cuda_stage *stage = &d->stage[d->next_stage];
    if (d->failure.code != OK) return NULL;
    cuda_enter(d, "staging");
    bool arrived = !stage->used || cuda_ok(d, d->run->mark_wait(stage->mark), "staging");
    cuda_leave(d);
    if (!arrived) return NULL;
    d->next_stage = (d->next_stage + 1) % CUDA_STAGES;
    stage->used = false;
    return stage;
}

void cuda_stage_sent(device *d, struct cuda_stage *stage)
{
    stage->used = cuda_ok(d, d->run->mark(stage->mark, d->stream), "staging");
}
