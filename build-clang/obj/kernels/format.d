build-clang/obj/kernels/format.o: kernels/format.c kernels/format.h \
  kernels/kernels.h base/error.h

kernels/format.h:

kernels/kernels.h:

base/error.h:
