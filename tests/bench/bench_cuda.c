/* `dbrx-ls bench --synthetic` by itself, for a bare GPU machine: nvcc, libc and CUDA's runtime are all
 * it takes to build (`make bench-cuda`). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inference/bench/synthetic_report.h"

static const char usage[] =
    "usage: bench-cuda [--synthetic dbrx] [--format fp8|int4] [--quick] [--budget-s N]\n"
    "                  [--repeats N] [--lines FILE] [--json]\n\n"
    "A full-size model made on the GPU, its steps beside the GPU's own limits.\n";

struct request {
    struct synthetic_options o;
    const char *lines;
    bool json, help;
};

static bool arguments_read(struct request *r, int argc, char **argv)
{
    static const struct option options[] = {{"synthetic", required_argument, NULL, 's'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"quick", no_argument, NULL, 'q'},
                                            {"budget-s", required_argument, NULL, 'b'},
                                            {"repeats", required_argument, NULL, 'r'},
                                            {"lines", required_argument, NULL, 'l'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) switch (c) {
        case 's': r->o.model = optarg; break;
        case 'f':
            r->o.format = strcmp(optarg, "int4") == 0  ? WEIGHT_INT4_G128
                          : strcmp(optarg, "fp8") == 0 ? WEIGHT_FP8_ROW
                                                       : WEIGHT_F32;
            break;
        case 'q': r->o.quick = true; break;
        case 'b': r->o.budget_s = strtod(optarg, NULL); break;
        case 'r': r->o.n_repeats = (int32_t)strtol(optarg, NULL, 10); break;
        case 'l': r->lines = optarg; break;
        case 'j': r->json = true; break;
        case 'h': r->help = true; break;
        default: return false;
        }
    return optind == argc && r->o.budget_s >= 0 && r->o.n_repeats >= 0;
}

int main(int argc, char **argv)
{
    struct request r = {.o = {.model = "dbrx", .format = WEIGHT_FP8_ROW}};
    buffer json = {0};
    error err = {0};
    if (!arguments_read(&r, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    if (r.help) return fputs(usage, stdout) < 0;
    status s = synthetic_report_run(&r.o, r.json ? stderr : stdout, r.lines, &json, &err);
    if (r.json && json.bytes) fputs(json.bytes, stdout);
    buffer_free(&json);
    if (s != OK) fprintf(stderr, "bench-cuda: %s\n", err.message);
    return s == OK ? 0 : s == ERR_USAGE ? 2 : s == ERR_DEVICE ? 3 : 1;
}
