build-clang/obj/kernels/cpu/math_portable.o: kernels/cpu/math_portable.c \
  kernels/cpu/math.h kernels/kernels.h base/error.h \
  kernels/cpu/math_rows.h kernels/format.h

kernels/cpu/math.h:

kernels/kernels.h:

base/error.h:

kernels/cpu/math_rows.h:

kernels/format.h:
