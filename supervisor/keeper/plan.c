/* Launch plans: taking steps apart by the formats of wire.h, and checking a whole plan before
 * anything is done for it. The child walks the same bytes again with the same next_step(). */
#include "keeper.h"

/* Takes `body` apart into `fields`; false unless it is exactly what the format says. */
bool take_fields(struct in body, const char *format, struct step *fields) {
    int64_t *number = fields->number;
    const char **text = fields->text;
    for (; *format; format++)
        switch (*format) {
        case '#': body.bad |= (fields->count = (uint32_t)get_number(&body, 4)) > MAX_LISTED; break;
        case '*':
            fields->list = body;
            for (uint32_t left = fields->count; left && !body.bad; left--) get_text(&body);
            break;
        case 't': *text++ = get_text(&body); break;
        case 'u': *number++ = (int64_t)get_number(&body, 4); break;
        case 'i': *number++ = (int32_t)get_number(&body, 4); break;
        case 'U': *number++ = (int64_t)get_number(&body, 8); break;
        case 'b': fields->list = body; body.at = body.end; break;
        }
    return !body.bad && body.at == body.end;
}

bool next_step(struct in *plan, struct step *step) {
    uint32_t code = (uint32_t)get_number(plan, 4), length = (uint32_t)get_number(plan, 4);
    *step = (struct step){.code = code};
    const char *format = code < sizeof STEP_FORMATS / sizeof *STEP_FORMATS ? STEP_FORMATS[code] : NULL;
    if (plan->bad || !format || length > (size_t)(plan->end - plan->at)) return false;
    plan->at += length;
    return take_fields((struct in){plan->at - length, plan->at, false}, format, step);
}

/* Components that are empty or begin with a dot could lead out of the unit's own cgroups. */
static bool is_cgroup_path(const char *path) {
    for (const char *at = path; *at != '.' && *at != '/' && *at; at++)
        if (!(at = strchr(at, '/'))) return strlen(path) <= MAX_PATH;
    return false;
}

/* Offsets are such that an address has room there, and of the data, so nothing is written over a step. */
static bool is_call(const int64_t *number, int64_t last) {
    bool good = number[0] < WIRE_CALL_COUNT && number[2] <= last && number[3] < 1 << 10;
    for (int i = 0; i < 5; i++)
        good &= !(number[3] >> 2 * i & 3) || (number[4 + i] >= 0 && number[4 + i] <= last);
    return good;
}

static int check_step(const struct step *step, int sent_count, int64_t last) {
    const int64_t *number = step->number;
    const char *text = step->text[0] ? step->text[0] : "-", *more = step->text[1] ? step->text[1] : "";
    bool good = *text, target = number[0] >= 0 && number[0] < LOW;
    switch (step->code) {
    case STEP_CGROUP: good = is_cgroup_path(text); break;
    case STEP_LOG: good &= strlen(text) <= WIRE_MAX_NAME - strlen("log:") && strlen(more) <= MAX_OPTIONS; break;
    case STEP_ENV_PID: good &= strlen(text) <= WIRE_MAX_NAME && !strchr(text, '='); break;
    case STEP_OPEN: good &= target; break;
    case STEP_FD: return !target ? EINVAL : store_find(text) < 0 ? ENOENT : 0;
    case STEP_SENT_FD: good = target && number[1] < sent_count; break;
    case STEP_CALL: good = is_call(number, last); break;
    case STEP_ADDRESS: good = number[0] <= last && number[1] <= last; break;
    case STEP_HOLD: good = !(number[0] & ~(int64_t)MAX_HELD); break;
    case STEP_EXEC: good &= step->count > 0; break;
    }
    return good ? 0 : EINVAL;
}

int check_plan(struct plan *plan) {
    const uint32_t with_target = 1u << STEP_OPEN | 1u << STEP_FD | 1u << STEP_SENT_FD;
    const uint32_t several = with_target | 1u << STEP_WRITE | 1u << STEP_ENV_PID | 1u << STEP_CALL | 1u << STEP_ADDRESS
        | 1u << STEP_LOG;
    struct in steps = plan->steps;
    struct step step = {0};
    uint32_t seen = 0, pid_variables = 0;
    for (plan->last = UINT32_MAX; steps.at < steps.end; plan->last++, seen |= 1u << step.code) {
        if (step.code == STEP_EXEC || !next_step(&steps, &step) || seen & ~several & 1u << step.code) return EINVAL;
        int error = check_step(&step, plan->sent_count, plan->data.end - plan->data.at - (int64_t)sizeof(void *));
        if (error) return error;
        pid_variables += step.code == STEP_ENV_PID;
        if (pid_variables > MAX_PID_VARIABLES || plan->fd_steps == MAX_FD_STEPS) return EINVAL;
        if (step.code == STEP_FD) plan->fds[plan->fd_steps++] = stored_fd[store_find(step.text[0])];
        plan->targets += (1u << step.code & with_target) && step.number[0] > 2;
        if (step.code == STEP_CGROUP) plan->cgroup = step;
        if (step.code == STEP_LOG && plan->logs && (plan->logs == 2 || !strcmp(step.text[0], plan->log->text[0]))) return EINVAL;
        if (step.code == STEP_LOG) plan->log[plan->logs++] = step;
        if (step.code == STEP_DATA) plan->data = step.list;
    }
    return step.code == STEP_EXEC ? 0 : EINVAL;
}
