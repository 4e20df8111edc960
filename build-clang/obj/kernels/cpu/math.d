build-clang/obj/kernels/cpu/math.o: kernels/cpu/math.c kernels/cpu/math.h \
  kernels/kernels.h base/error.h

kernels/cpu/math.h:

kernels/kernels.h:

base/error.h:
