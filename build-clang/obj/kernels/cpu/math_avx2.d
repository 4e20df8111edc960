build-clang/obj/kernels/cpu/math_avx2.o: kernels/cpu/math_avx2.c \
  kernels/cpu/math.h kernels/kernels.h base/error.h \
  kernels/cpu/integer_avx2.h kernels/cpu/math_rows.h kernels/format.h \
  kernels/cpu/rows_avx2.h

kernels/cpu/math.h:

kernels/kernels.h:

base/error.h:

kernels/cpu/integer_avx2.h:

kernels/cpu/math_rows.h:

kernels/format.h:

kernels/cpu/rows_avx2.h:
