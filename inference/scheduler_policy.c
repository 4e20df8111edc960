/* Candidates are ordered by (class, tokens served, standing slices first); then the best of them and
 * the decoding sequences divide the device by slack. */
#include "inference/scheduler_policy.h"

#include <math.h>
#include <string.h>

enum {
    GROUP_LAYERS = 4,   /* at most, between two looks at who has come */
    RIDE_ROWS_MIN = 16, /* fewer prompt rows are not worth a place in a step of others */
    SHORT_LEAD = 8192,  /* tokens of service by which a short prompt may go ahead of long ones */
    ACCOUNT_US_MAX = 50000,    /* no more is saved up */
    ACCOUNT_US_MIN = -5000000, /* nor owed */
    WARM_EVERY_US = 100000     /* at most one step of warm rows, while others are there */
};

static const double RIDE_SHARE = 0.10; /* of a step's cost, that riders may add */
static const double SLACK_RATE = 0.5;  /* foreign time per time of one's own: 2/3 are kept */
/* Of the device's time, while the class waits. */
static const double credit_rate[N_PRIORITIES] = {0, 0.10, 0.05, 0.30};

/* One choice in the making. */
struct chooser {
    const struct policy *p;
    const struct policy_sequence *q;
    int32_t n;
    const struct policy_slice *slices;
    int64_t now_us;
    int32_t *rows;
    struct step_shape shape; /* of the rows chosen so far */
    bool company;            /* somebody who is not warm runs or waits */
};

/* What could run beside or instead of decoding: a standing slice, or a fresh one behind sequence i. */
struct job {
    int32_t slice, sequence; /* one of them, the other -1; both -1: there is none */
    enum priority priority;
    double rank, served;
};

static double cost_of(const struct policy *p, const struct step_shape *shape)
{
    return shape->n_rows > 0 ? p->cost(p->context, shape) : 0;
}

static struct step_shape shape_with(struct step_shape shape, const struct policy_sequence *q,
                                    int32_t n_rows)
{
    if (n_rows == 0) return shape;
    shape.n_rows += n_rows;
    shape.n_seqs++;
    shape.n_outs += n_rows == q->n_rows && q->priority != PRIORITY_WARM;
    shape.n_kv_tokens += q->n_kv - (q->n_rows - n_rows);
    return shape;
}

static void rows_put(struct chooser *c, int32_t i, int32_t n_rows)
{
    c->shape = shape_with(c->shape, &c->q[i], n_rows);
    c->rows[i] = n_rows;
}

static bool is_ready(const struct policy_sequence *q) { return q->slice < 0 && !q->waits; }

static bool is_short(const struct chooser *c, const struct policy_sequence *q)
{
    struct step_shape alone = shape_with((struct step_shape){0}, q, q->n_rows);
    return q->n_rows <= c->p->rows_max && cost_of(c->p, &alone) <= (double)c->p->group_target_us;
}

int32_t policy_layers(const struct policy *p, const struct step_shape *shape, int32_t layer)
{
    double whole_us = cost_of(p, shape), layer_us = whole_us / p->n_layers;
    int32_t rest = p->n_layers - layer, n = GROUP_LAYERS;
    if (layer == 0 && whole_us <= (double)p->group_target_us) return rest;
    if (layer_us * n > (double)p->group_target_us)
        n = (int32_t)((double)p->group_target_us / layer_us);
    if (n < 1) n = 1;
    return n < rest ? n : rest;
}

static double launch_us(const struct policy *p, const struct step_shape *shape, int32_t layer)
{
    return cost_of(p, shape) * policy_layers(p, shape, layer) / p->n_layers;
}

/* An account that cannot save up for a dear launch pays it when full. */
static bool account_pays(double account_us, double us)
{
    return account_us >= (us < ACCOUNT_US_MAX ? us : ACCOUNT_US_MAX);
}

/* Rows of one slice of prompts: slice_target_us worth of them. */
static int32_t slice_rows(const struct policy *p)
{
    int32_t most = p->slice_rows_max < p->rows_max ? p->slice_rows_max : p->rows_max;
    int32_t least = p->slice_rows_min < most ? p->slice_rows_min : most;
    struct step_shape shape = {.n_rows = most, .n_seqs = 1, .n_kv_tokens = most};
    double rows = (double)p->slice_target_us * most / fmax(cost_of(p, &shape), 1);
    if (rows < least) rows = least;
    return rows < most ? (int32_t)rows : most;
}

/* The next launch of a job, by itself. */
static double job_us(const struct chooser *c, const struct job *job)
{
    if (job->slice >= 0) {
        const struct policy_slice *s = &c->slices[job->slice];
        return launch_us(c->p, &s->shape, s->layer);
    }
    const struct policy_sequence *q = &c->q[job->sequence];
    int32_t most = slice_rows(c->p), n_rows = q->n_rows < most ? q->n_rows : most;
    struct step_shape alone = shape_with((struct step_shape){0}, q, n_rows);
    return launch_us(c->p, &alone, 0);
}

/* Lower goes first; negative: not now. A class whose credit pays goes before stricter ones; warm work
 * in company needs it, and even so passes nobody but batches: somebody may be about to wait for it. */
static double job_rank(const struct chooser *c, const struct job *job)
{
    double us = job_us(c, job);
    bool due = credit_rate[job->priority] > 0 && account_pays(c->p->credit_us[job->priority], us);
    if (job->priority != PRIORITY_WARM) return due ? 0 : 1 + (double)job->priority;
    if (!c->company) return 1 + (double)PRIORITY_WARM;
    if (job->slice < 0 && c->now_us - c->p->warm_begun_us < WARM_EVERY_US) due = false;
    return due ? 0.5 + (double)PRIORITY_BATCH : -1;
}

static bool job_before(const struct job *a, const struct job *b)
{
    if (b->rank < 0) return true;
    return a->rank < b->rank || (a->rank <= b->rank && a->served < b->served);
}

static void job_offer(const struct chooser *c, struct job *best, struct job job)
{
    job.rank = job_rank(c, &job);
    if (job.rank >= 0 && job_before(&job, best)) *best = job;
}

static struct job job_best(const struct chooser *c)
{
    struct job best = {-1, -1, PRIORITY_WARM, -1, 0};
    for (int32_t i = 0; i < SLICES_MAX; i++)
        if (c->slices[i].active)
            job_offer(c, &best,
                      (struct job){i, -1, c->slices[i].priority, 0, (double)c->slices[i].served});
    for (int32_t i = 0; i < c->n; i++) {
        const struct policy_sequence *q = &c->q[i];
        if (!is_ready(q) || q->decodes || q->n_rows == 0) continue;
        double lead = is_short(c, q) ? SHORT_LEAD : 0;
        job_offer(c, &best, (struct job){-1, i, q->priority, 0, (double)q->served - lead});
    }
    return best;
}

/* Least slack among decoding sequences of this class and stricter; `any` tells if there are any. */
static double slack_least(const struct chooser *c, enum priority least_strict, bool *any)
{
    double least = ACCOUNT_US_MAX;
    *any = false;
    for (int32_t i = 0; i < c->n; i++) {
        const struct policy_sequence *q = &c->q[i];
        if (!q->decodes || !is_ready(q) || q->priority > least_strict) continue;
        *any = true;
        if (q->slack_us < least) least = q->slack_us;
    }
    return least;
}

static void decodes_put(struct chooser *c, enum priority least_strict)
{
    for (int32_t i = 0; i < c->n; i++)
        if (c->q[i].decodes && is_ready(&c->q[i]) && c->q[i].priority <= least_strict &&
            c->shape.n_rows < c->p->rows_max)
            rows_put(c, i, 1);
}

static enum priority decodes_strictest(const struct chooser *c)
{
    enum priority strictest = PRIORITY_WARM;
    for (int32_t i = 0; i < c->n; i++)
        if (c->q[i].decodes && is_ready(&c->q[i]) && c->q[i].priority < strictest)
            strictest = c->q[i].priority;
    return strictest;
}

/* Less strict decoding sequences join where the reads are paid, or slack or their credit pays. */
static void decodes_join(struct chooser *c, enum priority strictest)
{
    bool any;
    double base = cost_of(c->p, &c->shape), slack = slack_least(c, strictest, &any);
    for (int32_t i = 0; i < c->n; i++) {
        const struct policy_sequence *q = &c->q[i];
        if (!q->decodes || !is_ready(q) || c->rows[i] || c->shape.n_rows >= c->p->rows_max)
            continue;
        struct step_shape joined = shape_with(c->shape, q, 1);
        double us = cost_of(c->p, &joined), added = us - cost_of(c->p, &c->shape);
        if (us <= (1 + RIDE_SHARE) * base || (any && us - base <= slack) ||
            (q->priority != PRIORITY_INTERACTIVE &&
             account_pays(c->p->credit_us[q->priority], added)))
            rows_put(c, i, 1);
    }
}

/* Most rows of q, up to `most`, with which the step does not cost more than limit_us. */
static int32_t rows_within(const struct chooser *c, const struct policy_sequence *q, int32_t most,
                           double limit_us)
{
    int32_t low = 0, high = most;
    while (low < high) {
        int32_t middle = low + (high - low + 1) / 2;
        struct step_shape joined = shape_with(c->shape, q, middle);
        if (cost_of(c->p, &joined) <= limit_us)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Prompt rows of one class behind what was chosen, best first, at most `budget` of them and none that
 * makes the step dearer than limit_us. */
static void prompts_put(struct chooser *c, enum priority priority, int32_t budget, double limit_us)
{
    while (budget > 0 && c->shape.n_rows < c->p->rows_max) {
        int32_t best = -1;
        double least = 0;
        for (int32_t i = 0; i < c->n; i++) {
            const struct policy_sequence *q = &c->q[i];
            if (q->decodes || !is_ready(q) || q->priority != priority || c->rows[i] || !q->n_rows)
                continue;
            double served = (double)q->served - (is_short(c, q) ? SHORT_LEAD : 0);
            if (best < 0 || served < least) best = i, least = served;
        }
        if (best < 0) return;
        int32_t room = c->p->rows_max - c->shape.n_rows;
        int32_t most = c->q[best].n_rows < budget ? c->q[best].n_rows : budget;
        int32_t n = rows_within(c, &c->q[best], most < room ? most : room, limit_us);
        if (n <= 0) return;
        rows_put(c, best, n);
        budget -= n;
    }
}

static int32_t slices_free(const struct chooser *c)
{
    int32_t n = 0;
    for (int32_t i = 0; i < SLICES_MAX; i++) n += !c->slices[i].active;
    return n;
}

static struct policy_plan plan_new(const struct chooser *c, int32_t drop)
{
    return (struct policy_plan){-1, drop, policy_layers(c->p, &c->shape, 0), c->shape.n_rows};
}

static struct policy_plan plan_go_on(const struct chooser *c, int32_t slice)
{
    const struct policy_slice *s = &c->slices[slice];
    return (struct policy_plan){slice, -1, policy_layers(c->p, &s->shape, s->layer),
                                s->shape.n_rows};
}

static struct policy_plan decode_step(struct chooser *c)
{
    enum priority strictest = decodes_strictest(c);
    if (slices_free(c) == 0) return plan_go_on(c, 0);
    decodes_put(c, strictest);
    decodes_join(c, strictest);
    return plan_new(c, -1);
}

/* What riders may add to a step: a tenth, or what its streams' slack and this step's own share pay. */
static double ride_us(const struct chooser *c, enum priority least_strict, double base_us)
{
    bool any;
    double slack = slack_least(c, least_strict, &any) + SLACK_RATE * base_us;
    return fmax(RIDE_SHARE * base_us, slack);
}

/* Prompt rows in a step of decoding sequences that has paid their reads: each of them must cost less
 * here than in a slice of its own. Otherwise none ride. */
static bool ride(struct chooser *c, const struct job *job)
{
    const struct policy_sequence *q = &c->q[job->sequence];
    decodes_put(c, job->priority);
    int32_t rows = slice_rows(c->p), room = c->p->rows_max - c->shape.n_rows;
    struct step_shape alone = {.n_rows = rows, .n_seqs = 1, .n_kv_tokens = q->n_kv};
    double base = cost_of(c->p, &c->shape), limit = base + ride_us(c, job->priority, base);
    double row_us = cost_of(c->p, &alone) / rows;
    int32_t n = rows_within(c, q, q->n_rows < room ? q->n_rows : room, limit);
    struct step_shape joined = shape_with(c->shape, q, n);
    if (n == 0 || base <= 0 || (n < q->n_rows && n < RIDE_ROWS_MIN) ||
        cost_of(c->p, &joined) - base > n * row_us)
        return false;
    prompts_put(c, job->priority, c->p->rows_max, limit);
    decodes_join(c, job->priority);
    return true;
}

static void chooser_clear(struct chooser *c)
{
    memset(c->rows, 0, (size_t)c->n * sizeof *c->rows);
    c->shape = (struct step_shape){0};
}

/* A slice of its own. A short one goes through in one launch, and what decodes rides on it: it has
 * paid all reads. */
static void prompt_step(struct chooser *c, const struct job *job)
{
    bool brief = is_short(c, &c->q[job->sequence]);
    double group_us = (double)c->p->group_target_us;
    struct step_shape first = shape_with(c->shape, &c->q[job->sequence], 1);
    double floor_us = cost_of(c->p, &first);
    prompts_put(c, job->priority, slice_rows(c->p), brief ? fmax(group_us, floor_us) : INFINITY);
    if (policy_layers(c->p, &c->shape, 0) == c->p->n_layers) {
        decodes_put(c, job->priority);
        decodes_join(c, job->priority);
    }
}

/* The standing slice that is wanted least, if it is less strict than this job. */
static int32_t slice_to_drop(const struct chooser *c, const struct job *job)
{
    int32_t least = -1;
    for (int32_t i = 0; i < SLICES_MAX; i++)
        if (c->slices[i].active && c->slices[i].priority > job->priority &&
            (least < 0 || c->slices[i].priority > c->slices[least].priority))
            least = i;
    return least;
}

/* A new slice of prompts; where no place is left to let it stand, an old one is given up for it, or
 * goes on instead. */
static struct policy_plan prompt_plan(struct chooser *c, const struct job *job)
{
    prompt_step(c, job);
    bool stands = policy_layers(c->p, &c->shape, 0) < c->p->n_layers;
    if (slices_free(c) > (stands ? 1 : 0)) return plan_new(c, -1);
    int32_t drop = slice_to_drop(c, job), oldest = 0;
    if (drop >= 0) return plan_new(c, drop);
    for (int32_t i = 1; i < SLICES_MAX; i++)
        if (c->slices[i].active &&
            (!c->slices[oldest].active || c->slices[i].layer > c->slices[oldest].layer))
            oldest = i;
    chooser_clear(c);
    return plan_go_on(c, oldest);
}

/* May this job run now, though sequences of its class and stricter ones decode? A stream's slack must
 * pay; a short interactive prompt, or a class whose turn it is, may overdraw it once. */
static bool slack_pays(struct chooser *c, const struct job *job, bool *any)
{
    double slack = slack_least(c, job->priority, any);
    if (!*any) return true;
    bool brief = job->sequence >= 0 && is_short(c, &c->q[job->sequence]);
    if ((brief && job->priority == PRIORITY_INTERACTIVE) || job->rank < 1) return slack >= 0;
    return account_pays(slack, job_us(c, job));
}

/* A step with a stream's next token does not stand while anybody of its class or less strict runs. */
static int32_t slice_that_decodes(const struct chooser *c, const struct job *job)
{
    for (int32_t i = 0; i < SLICES_MAX; i++) {
        const struct policy_slice *s = &c->slices[i];
        if (s->active && s->decodes && (job->rank < 0 || s->priority <= job->priority)) return i;
    }
    return -1;
}

static bool company_is_there(const struct policy_sequence *q, int32_t n,
                             const bool queued[N_PRIORITIES])
{
    for (int p = 0; p < PRIORITY_WARM; p++)
        if (queued[p]) return true;
    for (int32_t i = 0; i < n; i++)
        if (q[i].priority < PRIORITY_WARM) return true;
    return false;
}

/* Whatever may run when policy has no reason left to refuse: nothing stands still while work waits. */
static struct policy_plan plan_any(struct chooser *c)
{
    for (int32_t i = 0; i < SLICES_MAX; i++)
        if (c->slices[i].active) return plan_go_on(c, i);
    for (int p = 0; p < N_PRIORITIES && c->shape.n_rows == 0; p++)
        prompts_put(c, (enum priority)p, slice_rows(c->p), INFINITY);
    return plan_new(c, -1);
}

struct policy_plan policy_choose(const struct policy *p, const struct policy_sequence *q, int32_t n,
                                 const struct policy_slice slices[SLICES_MAX],
                                 const bool queued[N_PRIORITIES], int64_t now_us, int32_t *rows)
{
    struct chooser c = {.p = p, .q = q, .n = n, .slices = slices, .now_us = now_us, .rows = rows};
    bool decodes, protected;
    c.company = company_is_there(q, n, queued);
    chooser_clear(&c);
    struct job job = job_best(&c);
    int32_t standing = slice_that_decodes(&c, &job);
    if (standing >= 0) return plan_go_on(&c, standing);
    slack_least(&c, PRIORITY_WARM, &decodes);
    if (job.rank < 0) return decodes ? decode_step(&c) : plan_any(&c);
    if (job.sequence >= 0 && decodes && slices_free(&c) > 0 && ride(&c, &job))
        return plan_new(&c, -1);
    chooser_clear(&c);
    if (!slack_pays(&c, &job, &protected)) return decode_step(&c);
    return job.slice >= 0 ? plan_go_on(&c, job.slice) : prompt_plan(&c, &job);
}

static double clamp_account(double us)
{
    return us > ACCOUNT_US_MAX ? ACCOUNT_US_MAX : us < ACCOUNT_US_MIN ? ACCOUNT_US_MIN : us;
}

/* The launch's rows, of classes from..to only. */
static struct step_shape shape_of_classes(const struct policy_sequence *q, int32_t n, int32_t slice,
                                          int from, int to, bool decodes_only)
{
    struct step_shape shape = {0};
    for (int32_t i = 0; i < n; i++)
        if (q[i].slice == slice && (int)q[i].priority >= from && (int)q[i].priority <= to &&
            (q[i].decodes || !decodes_only))
            shape = shape_with(shape, &q[i], q[i].n_rows);
    return shape;
}

static void slack_account(const struct policy *p, struct policy_sequence *q, int32_t n,
                          const struct policy_launch *launch)
{
    double share[N_PRIORITIES] = {0}; /* of the launch: decoding rows of this class and stricter */
    enum priority strictest = PRIORITY_WARM;
    struct step_shape all = shape_of_classes(q, n, launch->slice, 0, PRIORITY_WARM, false);
    double all_us = cost_of(p, &all);
    for (int c = 0; c < N_PRIORITIES; c++) {
        struct step_shape own = shape_of_classes(q, n, launch->slice, 0, c, true);
        share[c] = all_us > 0 ? fmin(cost_of(p, &own) / all_us, 1) : 0;
    }
    for (int32_t i = 0; i < n; i++)
        if (q[i].slice == launch->slice && q[i].priority < strictest) strictest = q[i].priority;
    for (int32_t i = 0; i < n; i++) {
        if (!q[i].decodes || (q[i].slice != launch->slice && strictest < q[i].priority)) continue;
        double own = q[i].slice == launch->slice ? launch->us * share[q[i].priority] : 0;
        q[i].slack_us = clamp_account(q[i].slack_us + SLACK_RATE * own - (launch->us - own));
    }
}

/* What the rows of one class added to the launch. */
static double class_us(const struct policy *p, const struct policy_sequence *q, int32_t n,
                       const struct policy_launch *launch, int class)
{
    struct step_shape all = shape_of_classes(q, n, launch->slice, 0, PRIORITY_WARM, false), rest;
    struct step_shape own = shape_of_classes(q, n, launch->slice, class, class, false);
    double all_us = cost_of(p, &all);
    if (own.n_rows == 0 || all_us <= 0) return 0;
    rest = (struct step_shape){all.n_rows - own.n_rows, all.n_seqs - own.n_seqs,
                               all.n_outs - own.n_outs, all.n_kv_tokens - own.n_kv_tokens};
    return launch->us * (all_us - cost_of(p, &rest)) / all_us;
}

/* A class is charged what its rows add to those of stricter ones. */
static void use_account(struct policy *p, const struct policy_sequence *q, int32_t n,
                        const struct policy_launch *launch)
{
    struct step_shape all = shape_of_classes(q, n, launch->slice, 0, PRIORITY_WARM, false);
    double all_us = cost_of(p, &all), before_us = 0;
    for (int c = 0; c < N_PRIORITIES && all_us > 0; c++) {
        struct step_shape to = shape_of_classes(q, n, launch->slice, 0, c, false);
        double us = cost_of(p, &to);
        p->used_us[c] += launch->us * (us - before_us) / all_us;
        before_us = us;
    }
}

void policy_account(struct policy *p, struct policy_sequence *q, int32_t n,
                    const bool queued[N_PRIORITIES], const struct policy_launch *launch)
{
    bool company = company_is_there(q, n, queued);
    slack_account(p, q, n, launch);
    use_account(p, q, n, launch);
    for (int c = 0; c < N_PRIORITIES; c++) {
        bool waits = queued[c] || c == PRIORITY_WARM, there = waits;
        for (int32_t i = 0; i < n; i++) {
            there = there || (int)q[i].priority == c;
            waits = waits || ((int)q[i].priority == c && q[i].slice != launch->slice);
        }
        double used = c == PRIORITY_WARM && !company ? 0 : class_us(p, q, n, launch, c);
        double saved = waits ? credit_rate[c] * launch->us : 0;
        p->credit_us[c] = clamp_account(p->credit_us[c] + saved - used);
        if (c != PRIORITY_WARM && (p->credit_us[c] < 0 || !there)) p->credit_us[c] = 0;
    }
    if (launch->warm_began) p->warm_begun_us = launch->now_us;
}
