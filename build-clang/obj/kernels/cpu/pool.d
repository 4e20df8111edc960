build-clang/obj/kernels/cpu/pool.o: kernels/cpu/pool.c \
  kernels/cpu/pool.h base/error.h base/clock.h base/memory.h

kernels/cpu/pool.h:

base/error.h:

base/clock.h:

base/memory.h:
