build-clang/obj/kernels/pages.o: kernels/pages.c kernels/pages.h \
  kernels/kernels.h base/error.h base/memory.h kernels/format.h

kernels/pages.h:

kernels/kernels.h:

base/error.h:

base/memory.h:

kernels/format.h:
