build-clang/obj/kernels/cpu/cpu_device.o: kernels/cpu/cpu_device.c \
  base/memory.h kernels/cpu/cpu.h base/arena.h base/limits.h \
  kernels/cpu/math.h kernels/kernels.h base/error.h kernels/cpu/pool.h \
  kernels/pages.h kernels/sampling.h kernels/host.h base/text.h

base/memory.h:

kernels/cpu/cpu.h:

base/arena.h:

base/limits.h:

kernels/cpu/math.h:

kernels/kernels.h:

base/error.h:

kernels/cpu/pool.h:

kernels/pages.h:

kernels/sampling.h:

kernels/host.h:

base/text.h:
