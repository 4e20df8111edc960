build-clang/obj/kernels/kernels.o: kernels/kernels.c kernels/kernels.h \
  base/error.h base/limits.h

kernels/kernels.h:

base/error.h:

base/limits.h:
