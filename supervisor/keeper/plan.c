/* Launch plans: taking steps apart by the formats of wire.h, and checking a whole plan before
 * anything is done for it. The child walks the same bytes again with the same next_step(). */
#include <sched.h>
#include "keeper.h"

static void skip_listed(struct in *plan, struct step *step, char kind)
{
    const uint8_t *start = plan->at;
    for (uint32_t i = 0; i < step->count && !plan->bad; i++)
        if (kind == 't')
            get_text(plan, 0);
        else
            get_u32(plan);
    step->list = (struct in){start, plan->at, plan->bad};
}

bool next_step(struct in *plan, struct step *step)
{
    uint32_t code = get_u32(plan), length = get_u32(plan), numbers = 0, texts = 0;
    *step = (struct step){.code = code};
    if (plan->bad || length > (size_t)(plan->end - plan->at) || !code
        || code >= sizeof STEP_FORMATS / sizeof *STEP_FORMATS)
        return false;
    struct in body = {plan->at, plan->at + length, false};
    for (const char *letter = STEP_FORMATS[step->code]; *letter; letter++)
        switch (*letter) {
        case '#': step->count = get_u32(&body); break;
        case '*': skip_listed(&body, step, *++letter); break;
        case 't': step->text[texts++] = get_text(&body, 0); break;
        case 'u': step->number[numbers++] = get_u32(&body); break;
        case 'i': step->number[numbers++] = (int32_t)get_u32(&body); break;
        case 'U': step->number[numbers++] = (int64_t)get_u64(&body); break;
        }
    plan->at += length;
    return all_read(&body);
}

/* Components that are empty or begin with a dot could lead out of the unit's own cgroups. */
static bool is_cgroup_path(const char *path)
{
    for (const char *at = path; ; at++) {
        if (*at == '.' || *at == '/' || !*at)
            return false;
        if (!(at = strchr(at, '/')))
            return strlen(path) <= MAX_PATH;
    }
}

static int check_step(const struct step *step, int sent_count)
{
    const int64_t *number = step->number;
    size_t length = step->text[0] ? strlen(step->text[0]) : 1;
    bool good = length > 0;
    switch (step->code) {
    case STEP_CGROUP: good = is_cgroup_path(step->text[0]); break;
    case STEP_LOG:
        good = good && length <= WIRE_MAX_NAME - strlen("log:") && strlen(step->text[1]) <= MAX_OPTIONS;
        break;
    case STEP_AFFINITY: good = number[0] < CPU_SETSIZE; break;
    case STEP_ENV_PID: good = good && length <= WIRE_MAX_NAME && !strchr(step->text[0], '='); break;
    case STEP_OPEN: good = good && number[0] >= 0 && number[0] < LOW; break;
    case STEP_FD:
        if (good && number[0] >= 0 && number[0] < LOW)
            return store_find(step->text[0]) < 0 ? ENOENT : 0;
        good = false;
        break;
    case STEP_SENT_FD: good = number[0] >= 0 && number[0] < LOW && number[1] < sent_count; break;
    case STEP_EXEC: good = good && step->count > 0; break;
    }
    return good ? 0 : EINVAL;
}

int check_plan(struct in plan, int sent_count, struct step *cgroup, struct step *log, uint32_t *last)
{
    const uint32_t repeatable = 1u << STEP_RLIMIT | 1u << STEP_OPEN | 1u << STEP_FD | 1u << STEP_SENT_FD
        | 1u << STEP_ENV_PID;
    struct step step = {0};
    uint32_t seen = 0, index = 0, pid_variables = 0;
    for (; plan.at < plan.end; index++) {
        if (seen & 1u << STEP_EXEC || !next_step(&plan, &step))
            return EINVAL;
        int error = check_step(&step, sent_count);
        pid_variables += step.code == STEP_ENV_PID;
        if (error || (seen & ~repeatable & 1u << step.code) || pid_variables > MAX_PID_VARIABLES)
            return error ? error : EINVAL;
        seen |= 1u << step.code;
        if (step.code == STEP_CGROUP)
            *cgroup = step;
        if (step.code == STEP_LOG)
            *log = step;
    }
    *last = index - 1;
    return seen & 1u << STEP_EXEC ? 0 : EINVAL;
}
