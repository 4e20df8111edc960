build-clang/obj/kernels/cpu/integer_avx2.o: kernels/cpu/integer_avx2.c \
  kernels/cpu/integer_avx2.h kernels/cpu/math.h kernels/kernels.h \
  base/error.h kernels/format.h

kernels/cpu/integer_avx2.h:

kernels/cpu/math.h:

kernels/kernels.h:

base/error.h:

kernels/format.h:
