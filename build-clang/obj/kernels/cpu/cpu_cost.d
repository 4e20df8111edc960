build-clang/obj/kernels/cpu/cpu_cost.o: kernels/cpu/cpu_cost.c \
  base/clock.h base/memory.h kernels/cpu/cpu.h base/arena.h \
  base/limits.h kernels/cpu/math.h kernels/kernels.h base/error.h \
  kernels/cpu/pool.h kernels/pages.h kernels/sampling.h

base/clock.h:

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
