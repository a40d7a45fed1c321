// The driver's part of the pretend GPU: what Triton, torch.compile and NVRTC kernels are loaded and launched through.
// Compiled after runtime.c, in one file with it, so that both count alike. Cubins are read: names, registers, shared memory.
#include <cuda.h>
#include <dlfcn.h>
#include <elf.h>

#define DRIVER(call) ({ cudaError_t before = last; CUresult result = (call); last = before; result; })  // cudaGetLastError knows nothing of the driver's errors

typedef struct { char name[512]; int regs, local, shared, threads, exact, allowed, wide, dev, nparams, params[256]; } Kernel;
typedef struct { int known, n; Kernel *kernels[4096]; } Module;  // known: a cubin; 0: PTX or a fat binary, which is not read

static Kernel *new_kernel(Module *m, const char *name) {
  Kernel *k = calloc(1, sizeof *k);
  snprintf(k->name, sizeof k->name, "%s", name);
  k->regs = 32; k->threads = 1024; k->allowed = 49152; k->dev = device;
  named(k, k->name);
  return m->kernels[m->n++] = k;
}
static Kernel *kernel_of(Module *m, const char *name) { for (int i = 0; i < m->n; i++) if (!strcmp(m->kernels[i]->name, name)) return m->kernels[i]; return 0; }

// Every kernel's section ".text.NAME", and the records about it. A record: format, attribute, then 2 bytes, which are the
// length of what follows where the format is 4.
static void read_kernel_records(Kernel *k, const char *at, size_t n) {
  for (const char *end = at + n; at + 4 <= end;) {
    int format = at[0], what = at[1], size = format == 4 ? *(unsigned short *)(at + 2) : 0; const int *v = (const int *)(at + 4);
    if (what == 0x05 || what == 0x10) { k->threads = v[0] * v[1] * v[2]; k->exact = what == 0x10; }
    if (what == 0x17) { int i = v[1] & 0xffff; if (i < 256) { k->params[i] = v[2] >> 18 & 0x3fff; if (i >= k->nparams) k->nparams = i + 1; } }
    at += 4 + size;
  }
}
static int read_cubin(Module *m, const char *image) {
  const Elf64_Ehdr *e = (const Elf64_Ehdr *)image;
  int arch = e->e_ident[EI_ABIVERSION] < 8 ? e->e_flags & 255 : e->e_flags >> 8 & 255, ours = card()->arch;
  if (arch / 10 != ours / 10 || arch > ours) { fprintf(stderr, "fakecuda: a kernel for sm_%d on a card with sm_%d\n", arch, ours); return 209; }
  const Elf64_Shdr *s = (const Elf64_Shdr *)(image + e->e_shoff), *table = 0; const char *names = image + s[e->e_shstrndx].sh_offset;
  for (int i = 0; i < e->e_shnum; i++) {
    if (!strncmp(names + s[i].sh_name, ".text.", 6)) new_kernel(m, names + s[i].sh_name + 6);
    if (!strcmp(names + s[i].sh_name, ".symtab")) table = &s[i];
  }
  for (int i = 0; i < e->e_shnum; i++) {
    const char *name = names + s[i].sh_name; Kernel *k;
    if (!strncmp(name, ".nv.shared.", 11) && (k = kernel_of(m, name + 11)))
      k->shared = s[i].sh_size - (arch >= 90 && s[i].sh_size >= 1024 ? 1024 : 0);  // less what the system keeps on sm_90 and newer
    if (!strncmp(name, ".nv.info.", 9) && (k = kernel_of(m, name + 9))) read_kernel_records(k, image + s[i].sh_offset, s[i].sh_size);
    if (!strcmp(name, ".nv.info") && table) {
      const int *v = (const int *)(image + s[i].sh_offset), *end = v + s[i].sh_size / 4;
      for (; v + 3 <= end && (v[0] & 255) == 4; v += 1 + (v[0] >> 16 & 0xffff) / 4) {
        const Elf64_Sym *sym = (const Elf64_Sym *)(image + table->sh_offset) + v[1];
        if (!(k = kernel_of(m, image + s[table->sh_link].sh_offset + sym->st_name))) continue;
        if ((v[0] >> 8 & 255) == 0x2f) k->regs = v[2];
        if ((v[0] >> 8 & 255) == 0x11) k->local = v[2];
      }
    }
  }
  return 0;
}

// ---- modules ----
EXPORT CUresult cuModuleLoadData(CUmodule *out, const void *image) {
  if (DRIVER(unsafe("cuModuleLoadData"))) return 900;
  Module *m = calloc(1, sizeof *m);
  COUNT(C_MODULE);
  if (!memcmp(image, ELFMAG, SELFMAG)) { m->known = 1; int e = read_cubin(m, image); if (e) return told(e, "cuModuleLoadData"); }
  *out = (CUmodule)m; return 0;
}
EXPORT CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned n, CUjit_option *o, void **v) { return cuModuleLoadData(out, image); }
EXPORT CUresult cuModuleLoadFatBinary(CUmodule *out, const void *image) { return cuModuleLoadData(out, image); }
EXPORT CUresult cuModuleLoad(CUmodule *out, const char *path) {
  FILE *f = fopen(path, "rb"); if (!f) return told(301, "cuModuleLoad");
  fseek(f, 0, SEEK_END); long n = ftell(f); rewind(f);
  char *image = calloc(1, n + 64); n = fread(image, 1, n, f); fclose(f);
  CUresult e = cuModuleLoadData(out, image); free(image); return e;
}
EXPORT CUresult cuModuleUnload(CUmodule m) { return DRIVER(unsafe("cuModuleUnload")) ? 900 : 0; }
EXPORT CUresult cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name) {
  Module *m = (Module *)module; Kernel *k = kernel_of(m, name);
  if (!k && !m->known) k = new_kernel(m, name);
  if (!k) return told(500, "cuModuleGetFunction");
  *out = (CUfunction)k; return 0;
}
EXPORT CUresult cuFuncGetAttribute(int *v, CUfunction_attribute a, CUfunction f) {
  Kernel *k = (Kernel *)f;
  switch (a) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *v = k->threads; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *v = k->shared; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *v = k->local; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *v = k->regs; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION: case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *v = card()->arch; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *v = k->allowed; break;
    default: *v = 0;
  }
  return 0;
}
EXPORT CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) {
  Kernel *k = (Kernel *)f;
  if (a == CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED) k->wide = v;
  if (a != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return 0;
  if (v < 0 || v + k->shared > card()->optin) return DRIVER(refused(k->name, "asks for %d bytes of shared memory, %d are there", v, card()->optin, 1));
  k->allowed = v; return 0;
}
EXPORT CUresult cuFuncSetCacheConfig(CUfunction f, CUfunc_cache c) { return 0; }
EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction f, int block, size_t shared) {
  Kernel *k = (Kernel *)f; *n = resident(block, k->regs, shared + k->shared); return 0;
}
EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, CUfunction f, int block, size_t shared, unsigned fl) { return cuOccupancyMaxActiveBlocksPerMultiprocessor(n, f, block, shared); }

// ---- launches ----
static CUresult checked(Kernel *k, dim3 grid, dim3 block, size_t shared, void *stream, void **args, void **extra, int cluster, int together) {
  if (k->nparams && !args && !extra) return refused(k->name, "has %d arguments, none given", k->nparams, 0, 1);
  if (k->dev != device) return refused(k->name, "was loaded for cuda:%d and is launched on cuda:%d", k->dev, device, 400);
  if (k->exact && block.x * block.y * block.z != k->threads) return refused(k->name, "needs blocks of %d threads, gets %d", k->threads, block.x * block.y * block.z, 1);
  if (cluster > 1 && (card()->arch < 90 || grid.x % cluster || cluster > (k->wide ? 16 : 8))) return refused(k->name, "can't have clusters of %d on sm_%d", cluster, card()->arch, 912);
  for (int i = 0; args && i < k->nparams; i++) if (k->params[i] == 8) {  // 8 bytes may be a pointer
    Range *r = range_of(*(void **)args[i]);
    if (r && r->kind == 1 && r->dev != device) return refused(k->name, "runs on cuda:%d with memory of cuda:%d", device, r->dev, 700);
  }
  cudaError_t e = launched(k, grid, block, shared, k->shared, k->allowed, k->regs, k->threads, together, stream);
  if (!e) COUNT(C_DRIVER);
  return e == 9 ? 1 : e;  // what the runtime calls a bad configuration is a bad value to the driver
}
static CUresult launch(Kernel *k, dim3 grid, dim3 block, size_t shared, void *stream, void **args, void **extra, int cluster, int together) {
  return DRIVER(checked(k, grid, block, shared, stream, args, extra, cluster, together));
}
EXPORT CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream s, void **args, void **extra) {
  return launch((Kernel *)f, (dim3){gx, gy, gz}, (dim3){bx, by, bz}, shared, s, args, extra, 1, 0);
}
EXPORT CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream s, void **args) {
  return launch((Kernel *)f, (dim3){gx, gy, gz}, (dim3){bx, by, bz}, shared, s, args, 0, 1, 1);
}
EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **args, void **extra) {
  int cluster = 1, together = 0;
  for (unsigned i = 0; i < c->numAttrs; i++) {
    if (c->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) cluster = c->attrs[i].value.clusterDim.x * c->attrs[i].value.clusterDim.y * c->attrs[i].value.clusterDim.z;
    if (c->attrs[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) together = c->attrs[i].value.cooperative;
  }
  return launch((Kernel *)f, (dim3){c->gridDimX, c->gridDimY, c->gridDimZ}, (dim3){c->blockDimX, c->blockDimY, c->blockDimZ}, c->sharedMemBytes, c->hStream, args, extra, cluster, together);
}
EXPORT CUresult cuOccupancyMaxActiveClusters(int *n, CUfunction f, const CUlaunchConfig *c) {
  if (card()->arch < 90) return told(912, "cuOccupancyMaxActiveClusters");
  int cluster = 1; for (unsigned i = 0; i < c->numAttrs; i++) if (c->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) cluster = c->attrs[i].value.clusterDim.x;
  *n = card()->sms / (cluster ? cluster : 1); return 0;
}
EXPORT CUresult cuTensorMapEncodeTiled(CUtensorMap *m, CUtensorMapDataType t, cuuint32_t rank, void *at, const cuuint64_t *d, const cuuint64_t *st, const cuuint32_t *b, const cuuint32_t *es, CUtensorMapInterleave i, CUtensorMapSwizzle sw, CUtensorMapL2promotion l, CUtensorMapFloatOOBfill o) {
  if (card()->arch < 90 || rank < 1 || rank > 5 || (size_t)at % 16) return told(1, "cuTensorMapEncodeTiled");
  memset(m, 0, sizeof *m); return 0;
}

// ---- devices and contexts: device d's only context is d + 1 ----
EXPORT CUresult cuInit(unsigned f) { return 0; }
EXPORT CUresult cuDriverGetVersion(int *v) { *v = 13000; return 0; }
EXPORT CUresult cuDeviceGetCount(int *n) { *n = gpus(); return 0; }
EXPORT CUresult cuDeviceGet(CUdevice *d, int i) { if (i < 0 || i >= gpus()) return told(101, "cuDeviceGet"); *d = i; return 0; }
EXPORT CUresult cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice d) { return DRIVER(cudaDeviceGetAttribute(v, (enum cudaDeviceAttr)a, d)); }
EXPORT CUresult cuDeviceGetName(char *s, int n, CUdevice d) { snprintf(s, n, "%s", card()->name); return 0; }
EXPORT CUresult cuDeviceGetUuid(CUuuid *u, CUdevice d) { memset(u, 0, sizeof *u); u->bytes[15] = d; return 0; }
EXPORT CUresult cuDeviceTotalMem(size_t *n, CUdevice d) { *n = total_memory(); return 0; }
EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) { if (d < 0 || d >= gpus()) return told(101, "cuDevicePrimaryCtxRetain"); touched[d] = 1; *c = (CUcontext)(long)(d + 1); return 0; }
EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice d) { return 0; }
EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned *flags, int *active) { if (flags) *flags = 0; if (active) *active = touched[d]; return 0; }
EXPORT CUresult cuCtxGetCurrent(CUcontext *c) { *c = (CUcontext)(long)(device + 1); return 0; }
EXPORT CUresult cuCtxSetCurrent(CUcontext c) { return c ? DRIVER(cudaSetDevice((int)(long)c - 1)) : 0; }
EXPORT CUresult cuCtxGetDevice(CUdevice *d) { *d = device; return 0; }
EXPORT CUresult cuCtxGetLimit(size_t *v, CUlimit l) { *v = 1 << 20; return 0; }
EXPORT CUresult cuCtxSetLimit(CUlimit l, size_t v) { return 0; }
EXPORT CUresult cuCtxSynchronize(void) { return DRIVER(cudaDeviceSynchronize()); }
EXPORT CUresult cuGetErrorString(CUresult e, const char **s) { *s = cudaGetErrorString(e); return 0; }
EXPORT CUresult cuGetErrorName(CUresult e, const char **s) { return cuGetErrorString(e, s); }
EXPORT CUresult cuPointerGetAttribute(void *v, CUpointer_attribute a, CUdeviceptr at) {
  Range *r = range_of((void *)at); if (!r) return 1;  // ordinary memory of the host: Triton then says "cpu tensor?"
  switch (a) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: *(long *)v = r->dev + 1; break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *(unsigned *)v = r->kind == 1 ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST; break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: case CU_POINTER_ATTRIBUTE_HOST_POINTER: *(CUdeviceptr *)v = at; break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(unsigned *)v = 0; break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)v = r->dev; break;
    default: return told(801, "cuPointerGetAttribute");
  }
  return 0;
}

// ---- memory, streams, events: the runtime's, by their other name ----
EXPORT CUresult cuMemAlloc(CUdeviceptr *p, size_t n) { return DRIVER(cudaMalloc((void **)p, n)); }
EXPORT CUresult cuMemFree(CUdeviceptr p) { return DRIVER(cudaFree((void *)p)); }
EXPORT CUresult cuMemGetInfo(size_t *f, size_t *t) { return DRIVER(cudaMemGetInfo(f, t)); }
EXPORT CUresult cuMemcpyHtoD(CUdeviceptr d, const void *s, size_t n) { return DRIVER(cudaMemcpy((void *)d, s, n, 1)); }
EXPORT CUresult cuMemcpyDtoH(void *d, CUdeviceptr s, size_t n) { return DRIVER(cudaMemcpy(d, (void *)s, n, 2)); }
EXPORT CUresult cuMemcpyHtoDAsync(CUdeviceptr d, const void *s, size_t n, CUstream st) { return DRIVER(cudaMemcpyAsync((void *)d, s, n, 1, st)); }
EXPORT CUresult cuMemcpyDtoHAsync(void *d, CUdeviceptr s, size_t n, CUstream st) { return DRIVER(cudaMemcpyAsync(d, (void *)s, n, 2, st)); }
EXPORT CUresult cuMemcpyDtoDAsync(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream st) { return DRIVER(cudaMemcpyAsync((void *)d, (void *)s, n, 3, st)); }
EXPORT CUresult cuMemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, CUstream st) { return DRIVER(cudaMemsetAsync((void *)d, v, n, st)); }
EXPORT CUresult cuStreamSynchronize(CUstream s) { return DRIVER(cudaStreamSynchronize(s)); }
EXPORT CUresult cuStreamQuery(CUstream s) { return DRIVER(cudaStreamQuery(s)); }
EXPORT CUresult cuStreamIsCapturing(CUstream s, CUstreamCaptureStatus *st) { return DRIVER(cudaStreamIsCapturing(s, (enum cudaStreamCaptureStatus *)st)); }
EXPORT CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned f) { return DRIVER(cudaStreamWaitEvent(s, e, f)); }
EXPORT CUresult cuEventRecord(CUevent e, CUstream s) { return DRIVER(cudaEventRecord(e, s)); }
EXPORT CUresult cuEventQuery(CUevent e) { return DRIVER(cudaEventQuery(e)); }
EXPORT CUresult cuEventSynchronize(CUevent e) { return DRIVER(cudaEventSynchronize(e)); }
EXPORT CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *m) { return DRIVER(cudaThreadExchangeStreamCaptureMode((enum cudaStreamCaptureMode *)m)); }

// ---- looking driver functions up; those that are not here say "operation not supported" ----
static int missing(void) { fprintf(stderr, "fakecuda: a driver function that the pretend GPU doesn't have (FAKE_VERBOSE=1 names them)\n"); return 801; }
static void *driver_function(const char *name) {
  static const char *versions[] = {"_v3", "_v2", ""}; char full[256]; void *p = 0;
  for (int i = 0; !p && i < 3; i++) { snprintf(full, sizeof full, "%s%s", name, versions[i]); p = dlsym(RTLD_DEFAULT, full); }
  if (!p && verbose()) fprintf(stderr, "fakecuda: no %s\n", name);
  return p ? p : missing;
}
#undef cuGetProcAddress
EXPORT CUresult cuGetProcAddress_v2(const char *n, void **p, int v, cuuint64_t f, CUdriverProcAddressQueryResult *q) { *p = driver_function(n); if (q) *q = 0; return 0; }
EXPORT CUresult cuGetProcAddress(const char *n, void **p, int v, cuuint64_t f) { *p = driver_function(n); return 0; }
EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char *n, void **p, unsigned v, unsigned long long f, enum cudaDriverEntryPointQueryResult *q) { *p = driver_function(n); if (q) *q = 0; return 0; }
