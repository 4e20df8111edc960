build-clang/obj/kernels/reference/reference.o: \
  kernels/reference/reference.c kernels/reference/reference.h \
  base/arena.h kernels/kernels.h base/error.h kernels/sampling.h \
  base/limits.h kernels/format.h kernels/pages.h

kernels/reference/reference.h:

base/arena.h:

kernels/kernels.h:

base/error.h:

kernels/sampling.h:

base/limits.h:

kernels/format.h:

kernels/pages.h:
