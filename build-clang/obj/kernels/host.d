build-clang/obj/kernels/host.o: kernels/host.c kernels/host.h base/text.h \
  kernels/kernels.h base/error.h base/limits.h base/memory.h \
  kernels/format.h kernels/pages.h

kernels/host.h:

base/text.h:

kernels/kernels.h:

base/error.h:

base/limits.h:

base/memory.h:

kernels/format.h:

kernels/pages.h:
