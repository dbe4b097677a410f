/* See craft.h. Test code: running out of memory or of disk ends the program. */
#include "craft.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *must(void *p) {
    if (!p) {
        fputs("craft: out of memory\n", stderr);
        exit(99);
    }
    return p;
}

void craft_bytes(craft *c, const void *p, size_t n) {
    if (n > c->cap - c->n) {
        c->cap = (c->n + n) * 2 + 64;
        c->p = must(realloc(c->p, c->cap));
    }
    if (n) memcpy(c->p + c->n, p, n);
    c->n += n;
}

void craft_int(craft *c, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) {
        const uint8_t b = (uint8_t)(v >> (8 * i));
        craft_bytes(c, &b, 1);
    }
}

static void str_n(craft *c, const char *s, size_t n) {
    craft_int(c, n, 8);
    craft_bytes(c, s, n);
}

void craft_str(craft *c, const char *s) { str_n(c, s, strlen(s)); }

static uint64_t number(const char *s, const char **end) {
    char *e;
    const uint64_t v = *s == '-' ? (uint64_t)strtoll(s, &e, 0) : strtoull(s, &e, 0);
    *end = e;
    return v;
}

static void zeroes(craft *c, size_t n) {
    while (n--) craft_int(c, 0, 1);
}

/* v[0,cap) from "1,2,3"; returns how many. */
static int list(const char *s, uint64_t *v, int cap) {
    int n = 0;
    while (n < cap) {
        v[n++] = number(s, &s);
        if (*s != ',') break;
        s++;
    }
    return n;
}

static void word(craft *c, char kind, const char *s, size_t len) {
    const char *end;
    const char *comma = memchr(s, ',', len);
    uint64_t v[12];
    float f;
    double d;
    int n;
    switch (kind) {
    case 'b': craft_int(c, number(s, &end), 1); break;
    case 'w': craft_int(c, number(s, &end), 2); break;
    case 'd': craft_int(c, number(s, &end), 4); break;
    case 'q': craft_int(c, number(s, &end), 8); break;
    case 'f':
        f = strtof(s, NULL);
        craft_bytes(c, &f, 4);
        break;
    case 'F':
        d = strtod(s, NULL);
        craft_bytes(c, &d, 8);
        break;
    case 'r': craft_bytes(c, s, len); break;
    case 's': str_n(c, s, len); break;
    case 'z': zeroes(c, (size_t)number(s, &end)); break;
    case 'p':
        v[0] = number(s, &end);
        zeroes(c, (size_t)((v[0] - c->n % v[0]) % v[0]));
        break;
    case 'h':
        list(s, v, 3);
        craft_bytes(c, "GGUF", 4);
        craft_int(c, v[0], 4);
        craft_int(c, v[1], 8);
        craft_int(c, v[2], 8);
        break;
    case 'k':
        str_n(c, s, (size_t)(comma - s));
        craft_int(c, number(comma + 1, &end), 4);
        break;
    case 't':
        str_n(c, s, (size_t)(comma - s));
        n = list(comma + 1, v, 12);
        craft_int(c, (uint64_t)n - 2, 4);
        for (int i = 2; i < n; i++) craft_int(c, v[i], 8);
        craft_int(c, v[0], 4);
        craft_int(c, v[1], 8);
        break;
    default: fprintf(stderr, "craft: unknown word %c:\n", kind); exit(99);
    }
}

void craft_line(craft *c, const char *line) {
    while (*line) {
        line += strspn(line, " ");
        const size_t len = strcspn(line, " ");
        if (len >= 2) word(c, line[0], line + 2, len - 2);
        line += len;
    }
}

void craft_safetensors(craft *c, const char *header, int64_t delta, size_t n_data) {
    craft_int(c, strlen(header) + (uint64_t)delta, 8);
    craft_bytes(c, header, strlen(header));
    for (size_t i = 0; i < n_data; i++) craft_int(c, i & 0x3f, 1);
}

uint8_t *craft_exact(const craft *c) {
    uint8_t *p = must(malloc(c->n ? c->n : 1));
    if (c->n) memcpy(p, c->p, c->n);
    return p;
}

void craft_free(craft *c) {
    free(c->p);
    *c = (craft){0};
}

/* ---- files -------------------------------------------------------------------------------------------- */

char *craft_path(const char *dir, const char *name) {
    const size_t n = strlen(dir) + strlen(name) + 2;
    char *p = must(malloc(n));
    snprintf(p, n, "%s/%s", dir, name);
    return p;
}

char *craft_tmpdir(void) {
    const char *base = getenv("TMPDIR");
    char *dir = craft_path(base && *base ? base : "/tmp", "carat-test-XXXXXX");
    if (!mkdtemp(dir)) {
        perror(dir);
        exit(99);
    }
    return dir;
}

void craft_rmdir(char *dir) {
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char *p = craft_path(dir, e->d_name);
        remove(p);
        free(p);
    }
    if (d) closedir(d);
    rmdir(dir);
    free(dir);
}

bool craft_save(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    const bool ok = n == 0 || fwrite(p, 1, n, f) == n;
    return fclose(f) == 0 && ok;
}

/* ---- failures ----------------------------------------------------------------------------------------- */

const char *craft_bad_failure(int rc, const carat_error *err, int code, const char *about) {
    if (rc == 0) return "was accepted";
    if (rc != code || err->code != code) return "has the wrong code";
    if (err->msg[0] == 0) return "has an empty message";
    if (strlen(err->msg) >= sizeof err->msg - 1) return "has a message that was cut off";
    for (const unsigned char *c = (const unsigned char *)err->msg; *c; c++) {
        if (*c < 0x20 || *c == 0x7f) return "has a message of more than one printable line";
    }
    if (!strstr(err->msg, about)) return "has a message about something else";
    return NULL;
}
