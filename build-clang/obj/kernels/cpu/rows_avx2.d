build-clang/obj/kernels/cpu/rows_avx2.o: kernels/cpu/rows_avx2.c \
  kernels/cpu/rows_avx2.h kernels/cpu/math.h kernels/kernels.h \
  base/error.h kernels/cpu/math_rows.h kernels/format.h

kernels/cpu/rows_avx2.h:

kernels/cpu/math.h:

kernels/kernels.h:

base/error.h:

kernels/cpu/math_rows.h:

kernels/format.h:
