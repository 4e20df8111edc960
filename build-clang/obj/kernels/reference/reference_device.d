build-clang/obj/kernels/reference/reference_device.o: \
  kernels/reference/reference_device.c base/memory.h kernels/format.h \
  kernels/kernels.h base/error.h kernels/host.h base/text.h \
  kernels/pages.h kernels/reference/reference.h base/arena.h \
  kernels/sampling.h

base/memory.h:

kernels/format.h:

kernels/kernels.h:

base/error.h:

kernels/host.h:

base/text.h:

kernels/pages.h:

kernels/reference/reference.h:

base/arena.h:

kernels/sampling.h:
