build-clang/obj/kernels/cpu/cpu_dense.o: kernels/cpu/cpu_dense.c \
  base/limits.h kernels/cpu/cpu.h base/arena.h kernels/cpu/math.h \
  kernels/kernels.h base/error.h kernels/cpu/pool.h kernels/pages.h \
  kernels/sampling.h kernels/format.h

base/limits.h:

kernels/cpu/cpu.h:

base/arena.h:

kernels/cpu/math.h:

kernels/kernels.h:

base/error.h:

kernels/cpu/pool.h:

kernels/pages.h:

kernels/sampling.h:

kernels/format.h:
