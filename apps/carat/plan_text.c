#include "plan_text.h"

#include "term.h"

static uint64_t sum(const uint64_t *role) {
    uint64_t n = 0;
    for (int r = 0; r < CARAT_N_ROLE; r++) n += role[r];
    return n;
}

static uint64_t mib_up(uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

/* ---- JSON ---- */

static cli_json *roles_json(const carat_plan *p) {
    cli_json *o = cli_json_object();
    for (int r = 0; r < CARAT_N_ROLE; r++) {
        if (p->resident[r] + p->mapped[r] + p->streamed[r] == 0) continue;
        cli_json *x = cli_json_object();
        cli_json_put_bytes(x, "resident", p->resident[r]);
        cli_json_put_bytes(x, "mapped", p->mapped[r]);
        cli_json_put_bytes(x, "streamed", p->streamed[r]);
        cli_json_put(o, carat_role_key((carat_role)r), x);
    }
    return o;
}

cli_json *cli_plan_json(const carat_plan *p) {
    cli_json *o = cli_json_object();
    cli_json_put_bytes(o, "ram_bytes", p->ram);
    cli_json_put_bytes(o, "available_bytes", p->available);
    cli_json_put_bool(o, "fits", p->fits);
    if (p->ram) cli_json_put_bytes(o, "smallest_bytes", p->smallest);
    cli_json_put_str(o, "weights", carat_place_key(p->weights));
    cli_json_put_str(o, "ple", p->ple == CARAT_PLACE_AUTO ? "none" : carat_place_key(p->ple));
    cli_json_put_str(o, "experts", p->experts == CARAT_PLACE_AUTO ? "none" : carat_place_key(p->experts));
    cli_json_put(o, "roles", roles_json(p));
    cli_json_put_bytes(o, "resident_bytes", p->resident_bytes);
    cli_json_put_bytes(o, "mapped_bytes", p->mapped_bytes);
    cli_json_put_bytes(o, "streamed_bytes", sum(p->streamed));
    cli_json_put_bytes(o, "ple_cache_bytes", p->ple_cache_bytes);
    cli_json_put_bytes(o, "expert_cache_bytes", p->expert_cache_bytes);
    cli_json_put_int(o, "expert_slots", p->n_expert_slot);
    cli_json_put_int(o, "experts_in_all", p->n_expert_all);
    cli_json_put_bytes(o, "reader_bytes", p->reader_bytes);
    cli_json_put_bytes(o, "kv_bytes", p->kv_bytes);
    cli_json_put_bytes(o, "scratch_bytes", p->scratch_bytes);
    cli_json_put_bytes(o, "model_bytes", p->model_bytes);
    cli_json_put_bytes(o, "other_bytes", p->other_bytes);
    cli_json_put_bytes(o, "total_bytes", p->total_bytes);
    cli_json_put_int(o, "chunk_tokens", p->n_chunk);
    return o;
}

/* ---- for people ---- */

static void row(cli_table *t, const char *what, uint64_t bytes, const char *how) {
    cli_text size;
    if (bytes) cli_table_row(t, what, cli_size_text(size, bytes), how);
}

void cli_plan_table(const carat_plan *p, int32_t n_ctx) {
    cli_text a, b;
    char text[96], experts[96];
    cli_table *t = cli_table_new("lrl");
    cli_printf("memory for %s tokens of context", cli_count_text(a, n_ctx));
    if (p->ram) cli_printf(" within %s", cli_size_text(b, p->ram));
    cli_printf("\n");
    row(t, "  weights", p->resident_bytes, p->ram ? "resident: read once, past the page cache"
                                                  : "copied into the layout of the fast kernels");
    row(t, p->resident_bytes ? "" : "  weights", p->mapped_bytes, "mapped from the file");
    row(t, "  per-layer rows", p->ple_cache_bytes, "cache of recent rows, read from disk");
    (void)snprintf(experts, sizeof experts, "cache of %d of %d experts, read from disk", (int)p->n_expert_slot, (int)p->n_expert_all);
    row(t, "  experts", p->expert_cache_bytes, experts);
    row(t, "  readers", p->reader_bytes, "buffers of the threads that read");
    row(t, "  KV cache", p->kv_bytes, "");
    (void)snprintf(text, sizeof text, "prompts in chunks of %d tokens", (int)p->n_chunk);
    row(t, "  buffers", p->scratch_bytes, text);
    row(t, "  vocabulary, norms", p->model_bytes, "");
    row(t, "  program", p->other_bytes, "set aside: code, stacks, page tables");
    cli_table_line(t);
    row(t, "  needed", p->total_bytes, "");
    cli_table_print(t, false);
    const uint64_t mapped = p->mapped[CARAT_ROLE_PLE_TABLE], streamed = p->streamed[CARAT_ROLE_PLE_TABLE];
    if (mapped) cli_printf("  besides %s of per-layer embeddings, mapped, one row a token\n", cli_size_text(a, mapped));
    if (streamed) cli_printf("  on disk %s of per-layer embeddings, one row a token\n", cli_size_text(a, streamed));
    if (p->streamed[CARAT_ROLE_EXPERTS]) cli_printf("  on disk %s of experts\n", cli_size_text(a, p->streamed[CARAT_ROLE_EXPERTS]));
    if (!p->ram) return;
    if (p->fits) cli_printf("  fits, %s left", cli_size_text(a, p->ram - p->total_bytes));
    else cli_printf("  does not fit");
    cli_printf(" (smallest that would: %lluM)\n", (unsigned long long)mib_up(p->smallest));
}

void cli_plan_line(const carat_plan *p) {
    cli_text total, ram, weights, kv, cache;
    fprintf(stderr, "memory: %s of weights %s", cli_size_text(weights, p->resident_bytes + p->mapped_bytes),
            carat_place_key(p->weights));
    if (p->ple != CARAT_PLACE_AUTO) fprintf(stderr, ", per-layer embeddings %s", carat_place_key(p->ple));
    if (p->experts == CARAT_PLACE_STREAMED) {
        fprintf(stderr, ", %d of %d experts cached (%s)", (int)p->n_expert_slot, (int)p->n_expert_all,
                cli_size_text(cache, p->expert_cache_bytes));
    }
    fprintf(stderr, ", KV cache %s: %s", cli_size_text(kv, p->kv_bytes), cli_size_text(total, p->total_bytes));
    if (p->ram) fprintf(stderr, " of %s", cli_size_text(ram, p->ram));
    fputc('\n', stderr);
}

int cli_plan_refuse(const carat_plan *p, const cli_common *c, int32_t n_ctx) {
    const bool given = c->ram > 0;
    cli_text limit, need, weights, kv, rest;
    const uint64_t fixed = p->resident_bytes + p->expert_cache_bytes + p->mapped_bytes;
    return cli_fail(CLI_FAILED, c->verb,
                    "%s%s%s: needs %s (weights %s, KV cache %s for %d tokens, the rest %s): give --ram %lluM or more, a smaller -c, "
                    "--kv q8_0, or a smaller model", given ? "--ram " : "", cli_size_text(limit, p->ram + c->ram_aside), given ? "" : " are free",
                    cli_size_text(need, p->smallest + c->ram_aside), cli_size_text(weights, fixed), cli_size_text(kv, p->kv_bytes), (int)n_ctx,
                    cli_size_text(rest, p->total_bytes > fixed + p->kv_bytes ? p->total_bytes - fixed - p->kv_bytes : 0),
                    (unsigned long long)mib_up(p->smallest + c->ram_aside));
}
