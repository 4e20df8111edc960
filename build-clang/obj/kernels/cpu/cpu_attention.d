build-clang/obj/kernels/cpu/cpu_attention.o: kernels/cpu/cpu_attention.c \
  kernels/cpu/cpu.h base/arena.h base/limits.h kernels/cpu/math.h \
  kernels/kernels.h base/error.h kernels/cpu/pool.h kernels/pages.h \
  kernels/sampling.h

kernels/cpu/cpu.h:

base/arena.h:

base/limits.h:

kernels/cpu/math.h:

kernels/kernels.h:

base/error.h:

kernels/cpu/pool.h:

kernels/pages.h:

kernels/sampling.h:
