/* What each task says. Details come from people and tools and are quoted; the sentence that says what
 * form the answer has stands last, nearest to the answer. */
#include "context/task_text.h"

struct task_row {
    bool prose;
    const char *words;
    const char *details; /* stands before the request's details */
    const char *form;    /* NULL: the usual form of code */
};

static const char CODE_FORM[] =
    "Answer with the whole piece as it reads afterwards, in one code block, and nothing else.\n";
static const char PROSE_FORM[] =
    "Answer in prose, in three parts: **What** it is for; **How** it works, naming line numbers; "
    "**What to watch** when it is changed or called. Be brief and exact; say what cannot be seen "
    "from "
    "here. No code block longer than three lines.\n";
static const char FILE_FORM[] =
    "Answer with the whole new file in one code block, and nothing else.\n";

static const struct task_row rows[N_TASKS] = {
    [TASK_EXPLAIN] = {true, "Explain the piece.", NULL, PROSE_FORM},
    [TASK_SIMPLIFY] =
        {false,
         "Simplify the piece: the same behaviour for every input, errors included, "
         "with less to read. Keep what callers see. If nothing can be simpler, give it "
         "back as it is.",
         NULL, NULL},
    [TASK_EXTRACT] =
        {false,
         "Move the selected lines into a function of their own, named for what it does, "
         "and call it where they stood. Put it before the function they stood in where "
         "the language needs that, else behind it. Change nothing else.",
         NULL, NULL},
    [TASK_RENAME] =
        {false,
         "Give local names that say little better ones, each the same everywhere in the "
         "piece. Change nothing but names.",
         "Only these names may change: ", NULL},
    [TASK_INSTRUCTION] = {false, "Change the piece as its owner says:", "", NULL},
    [TASK_FIX] = {false, "Fix what is reported, at its cause, with the smallest change.",
                  "Reported:\n", NULL},
    [TASK_DOCUMENT] =
        {false,
         "Document the piece in the language's usual form, as its neighbours are: what "
         "it does, parameters, result, errors, what is not obvious. Add or correct "
         "comments only; every line of code stays as it is.",
         NULL, NULL},
    [TASK_TESTS] =
        {false,
         "Write tests for the piece, in the test framework that the repository uses, else "
         "the language's usual one: the ordinary case, the edges, each error. They call "
         "what is there and invent nothing.",
         "The new file is ", FILE_FORM},
    [TASK_TRANSLATE] = {false,
                        "Translate the comments of the piece. Names, code and markup stay as they "
                        "are.",
                        NULL, NULL},
};

bool task_wants_prose(enum task task) { return rows[task].prose; }

static void language_put(buffer *out, const struct task_request *q)
{
    text name = q->human_language;
    if (name.size == 0) return;
    if (q->task == TASK_EXPLAIN)
        buffer_print(out, "Answer in %.*s. ", (int)name.size, name.bytes);
    else if (q->task == TASK_TRANSLATE)
        buffer_print(out, "They are to be in %.*s.\n", (int)name.size, name.bytes);
}

void task_words_put(buffer *out, const struct task_request *q)
{
    const struct task_row *row = &rows[q->task];
    buffer_print(out, "Task: %s\n", row->words);
    if (q->select_line && q->task != TASK_EXPLAIN)
        buffer_print(out, "Selected: lines %zu to %zu.\n", q->select_line, q->select_last);
    if (q->details.size) {
        buffer_put_text(out, text_of(row->details));
        buffer_put_text(out, text_trim(q->details));
        buffer_put_char(out, '\n');
    }
    language_put(out, q);
    buffer_put_text(out, row->form ? text_of(row->form) : TEXT(""));
    if (!row->form) buffer_put_text(out, text_of(CODE_FORM));
}
