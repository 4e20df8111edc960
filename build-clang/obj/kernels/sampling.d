build-clang/obj/kernels/sampling.o: kernels/sampling.c kernels/sampling.h \
  kernels/kernels.h base/error.h base/random.h

kernels/sampling.h:

kernels/kernels.h:

base/error.h:

base/random.h:
