/* A libnvidia-ml.so.1 whose GPUs are files: $FAKE_NVML/<gpu>/<name> holds a number or a text; no file, not supported.
   The file `hang` makes every call about a GPU wait until it is gone. Signatures and codes as in nvml.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15 };

typedef struct { unsigned index; } Gpu;
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
} Pci;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute; } Process;
typedef struct {
    unsigned id, scope;
    long long timestamp, latency;
    unsigned type, result;
    union { double d; unsigned u; unsigned long long ull; } value;
} Field;
typedef struct { Gpu *device; unsigned long long type, data; unsigned instance, compute; } Event;

static Gpu gpus[64] = {{0}, {1}, {2}, {3}};

static FILE *open_file(const char *gpu, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", getenv("FAKE_NVML"), gpu, name);
    return fopen(path, "r");
}

static int number(const char *gpu, const char *name, double *value) {
    FILE *file = open_file(gpu, name);
    if (!file) return NOT_SUPPORTED;
    int found = fscanf(file, "%lf", value);
    fclose(file);
    return found == 1 ? OK : NOT_SUPPORTED;
}

static int ask(Gpu *gpu, const char *name, double *value) {
    char index[8];
    double any;
    snprintf(index, sizeof index, "%u", gpu->index);
    while (number(index, "hang", &any) == OK) usleep(10000);
    if (number(index, "lost", &any) == OK) return GPU_IS_LOST;
    return number(index, name, value);
}

static int ask_unsigned(Gpu *gpu, const char *name, unsigned *out) {
    double value;
    int result = ask(gpu, name, &value);
    if (result == OK) *out = (unsigned)value;
    return result;
}

static int text(Gpu *gpu, const char *name, char *out, unsigned size) {
    char index[8];
    snprintf(index, sizeof index, "%u", gpu->index);
    FILE *file = open_file(index, name);
    if (!file) return NOT_SUPPORTED;
    if (!fgets(out, (int)size, file)) out[0] = 0;
    out[strcspn(out, "\n")] = 0;
    fclose(file);
    return OK;
}

int nvmlInit_v2(void) { double v; return number(".", "init", &v) == OK ? (int)v : OK; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "error"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    double value = 0;
    number(".", "count", &value);
    *count = (unsigned)value;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **out) {
    gpus[index].index = index;
    *out = &gpus[index];
    return OK;
}

int nvmlDeviceGetPciInfo_v3(Gpu *gpu, Pci *out) { memset(out, 0, sizeof *out); return text(gpu, "pci", out->bus_id, 32); }
int nvmlDeviceGetUUID(Gpu *gpu, char *out, unsigned size) { return text(gpu, "uuid", out, size); }
int nvmlDeviceGetTemperature(Gpu *gpu, int sensor, unsigned *out) {
    return sensor ? INVALID_ARGUMENT : ask_unsigned(gpu, "temperature", out);
}
int nvmlDeviceGetClockInfo(Gpu *gpu, int type, unsigned *out) {
    return ask_unsigned(gpu, type == 1 ? "sm_clock" : type == 2 ? "memory_clock" : "no_clock", out);
}
int nvmlDeviceGetMaxClockInfo(Gpu *gpu, int type, unsigned *out) {
    return ask_unsigned(gpu, type == 1 ? "sm_clock_max" : "no_clock", out);
}
int nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *out) { return ask_unsigned(gpu, "power", out); }
int nvmlDeviceGetEnforcedPowerLimit(Gpu *gpu, unsigned *out) { return ask_unsigned(gpu, "power_limit", out); }
int nvmlDeviceGetCurrPcieLinkWidth(Gpu *gpu, unsigned *out) { return ask_unsigned(gpu, "width", out); }
int nvmlDeviceGetMaxPcieLinkWidth(Gpu *gpu, unsigned *out) { return ask_unsigned(gpu, "width_max", out); }
int nvmlDeviceGetCurrPcieLinkGeneration(Gpu *gpu, unsigned *out) { return ask_unsigned(gpu, "generation", out); }
int nvmlDeviceGetMaxPcieLinkGeneration(Gpu *gpu, unsigned *out) { return ask_unsigned(gpu, "generation_max", out); }
int nvmlDeviceGetPcieReplayCounter(Gpu *gpu, unsigned *out) { return ask_unsigned(gpu, "replays", out); }

/* Only the old name of this call: drivers before 535 know no other. */
int nvmlDeviceGetCurrentClocksThrottleReasons(Gpu *gpu, unsigned long long *out) {
    unsigned value;
    int result = ask_unsigned(gpu, "reasons", &value);
    if (result == OK) *out = value;
    return result;
}

int nvmlDeviceGetUtilizationRates(Gpu *gpu, Utilization *out) {
    out->memory = 0;
    return ask_unsigned(gpu, "utilization", &out->gpu);
}

int nvmlDeviceGetMemoryInfo(Gpu *gpu, Memory *out) {
    double used, total;
    int result = ask(gpu, "memory_used", &used);
    if (result != OK || (result = ask(gpu, "memory_total", &total)) != OK) return result;
    out->used = (unsigned long long)used;
    out->total = (unsigned long long)total;
    out->free = out->total - out->used;
    return OK;
}

int nvmlDeviceGetTotalEccErrors(Gpu *gpu, int type, int counter, unsigned long long *out) {
    double value;
    int result = counter ? INVALID_ARGUMENT : ask(gpu, type ? "ecc_uncorrectable" : "ecc_correctable", &value);
    if (result == OK) *out = (unsigned long long)value;
    return result;
}

int nvmlDeviceGetRemappedRows(Gpu *gpu, unsigned *correctable, unsigned *uncorrectable, unsigned *pending, unsigned *failed) {
    *correctable = *failed = 0;
    *uncorrectable = 1;
    return ask_unsigned(gpu, "rows_pending", pending);
}

int nvmlDeviceGetNvLinkState(Gpu *gpu, unsigned link, unsigned *up) {
    char name[32];
    snprintf(name, sizeof name, "link%u", link);
    return ask_unsigned(gpu, name, up);
}

int nvmlDeviceGetFieldValues(Gpu *gpu, int count, Field *fields) {
    for (int i = 0; i < count; i++) {
        char name[64];
        double value = 0;
        if (fields[i].id > 200)
            snprintf(name, sizeof name, "field%u.%u", fields[i].id, fields[i].scope);
        else
            snprintf(name, sizeof name, "field%u", fields[i].id);
        fields[i].result = (unsigned)ask(gpu, name, &value);
        if (fields[i].id == 82) {
            fields[i].type = 1;
            fields[i].value.u = (unsigned)value;
        } else {
            fields[i].type = 3;
            fields[i].value.ull = (unsigned long long)value;
        }
    }
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Gpu *gpu, unsigned *count, Process *out) {
    unsigned pid;
    unsigned room = *count;
    *count = 1;
    if (ask_unsigned(gpu, "pid", &pid) != OK) { *count = 0; return OK; }
    if (!out || !room) return INSUFFICIENT_SIZE;
    memset(out, 0, sizeof *out);
    out->pid = pid;
    return OK;
}

int nvmlEventSetCreate(void **set) { *set = gpus; return OK; }
int nvmlDeviceRegisterEvents(Gpu *gpu, unsigned long long types, void *set) { (void)gpu, (void)set; return types == 8 ? OK : INVALID_ARGUMENT; }

int nvmlEventSetWait_v2(void *set, Event *out, unsigned milliseconds) {
    (void)set;
    for (unsigned waited = 0; waited < milliseconds; waited += 10, usleep(10000)) {
        FILE *file = open_file(".", "xid");
        unsigned gpu, code;
        if (!file) continue;
        int found = fscanf(file, "%u %u", &gpu, &code);
        fclose(file);
        if (found != 2) continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/xid", getenv("FAKE_NVML"));
        unlink(path);
        memset(out, 0, sizeof *out);
        out->device = &gpus[gpu];
        out->type = 8;
        out->data = code;
        return OK;
    }
    return TIMEOUT;
}
