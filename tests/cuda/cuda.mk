# The CUDA kernels compiled for the host, over fibers: what test_cuda links beside the library.

CUDA_HOST_SOURCES := $(wildcard kernels/cuda/*.cu)
CUDA_HOST_SOURCES := $(filter-out kernels/cuda/runtime.cu kernels/cuda/probe.cu,$(CUDA_HOST_SOURCES))
CUDA_HOST_OBJECTS := $(CUDA_HOST_SOURCES:kernels/cuda/%.cu=$(BUILD)/obj/cuda-host/%.o) \
                     $(addprefix $(BUILD)/obj/cuda-host/,emulator.o emulator_hopper.o fiber.o host_blas.o host_runtime.o \
                       device_memory.o)
CXX ?= g++
CUDA_HOST_FLAGS := -std=c++17 -D_GNU_SOURCE -DKERNEL_HOST_LAYER='"tests/cuda/host_layer.h"' \
                   -fno-exceptions -fno-rtti -Wno-psabi -Wall -Wextra -Wno-unknown-pragmas -Werror -ffp-contract=off -I.

# Switches of fibers are told to ThreadSanitizer by a file that it does not look into.
FIBER_SANITIZE = $(if $(findstring thread,$(SANITIZE)),-DEMULATOR_TSAN,$(SANITIZE))

# Threads by turns are slow enough: optimised under sanitizers, too.
$(BUILD)/obj/cuda-host/%.o: override OPTIMISE := -O2 -g -fno-omit-frame-pointer

$(BUILD)/obj/cuda-host/%.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	@echo "c++ $<"
	$(Q)$(CXX) -x c++ $(CUDA_HOST_FLAGS) $(OPTIMISE) $(SANITIZE) -MMD -MP -c -o $@ $<

$(BUILD)/obj/cuda-host/%.o: tests/cuda/%.cu
	@mkdir -p $(@D)
	@echo "c++ $<"
	$(Q)$(CXX) -x c++ $(CUDA_HOST_FLAGS) $(OPTIMISE) $(SANITIZE) -MMD -MP -c -o $@ $<

$(BUILD)/obj/cuda-host/%.o: tests/cuda/%.c
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(CC) $(filter-out $(SANITIZE),$(CFLAGS_ALL)) $(FIBER_SANITIZE) -MMD -MP -c -o $@ $<

-include $(wildcard $(BUILD)/obj/cuda-host/*.d)

CUDA_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_cuda*.c))

$(CUDA_TESTS): $(BUILD)/tests/%: tests/unit/%.c $(CUDA_HOST_OBJECTS) tests/unit/support/rig.c \
                                 tests/unit/support/rig.h $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -o $@ $(filter %.c,$^) $(CUDA_HOST_OBJECTS) $(LIBRARY) \
	  -lcmocka $(LIBS)

# What only some tests need. gpu-check links the wrappers as nvcc compiles them as well.
$(BUILD)/tests/test_cuda_emulator: CUDA_HOST_OBJECTS += $(BUILD)/obj/cuda-host/broken.o
$(BUILD)/tests/test_cuda_emulator: $(BUILD)/obj/cuda-host/broken.o
$(BUILD)/tests/test_cuda_bench: CUDA_HOST_OBJECTS += $(BUILD)/obj/cuda-host/probe.o
$(BUILD)/tests/test_cuda_bench: $(BUILD)/obj/cuda-host/probe.o
WRAPPERS := $(addprefix $(BUILD)/obj/cuda-host/,wrappers.o wrappers_hopper.o)
$(BUILD)/tests/test_cuda_wrappers $(BUILD)/tests/test_cuda_layouts: CUDA_HOST_OBJECTS += $(WRAPPERS)
$(BUILD)/tests/test_cuda_wrappers $(BUILD)/tests/test_cuda_layouts: $(WRAPPERS)

# What is called of cuBLASLt, held against its header where that is found: CUBLAS_HOME names where the
# library was unpacked, else it lies beside CUDA's own headers.
CUBLAS_HOME   ?=
CUBLAS_CUDA   := $(CUDA_HOME)/include
CUBLAS_HEADER := $(firstword $(wildcard $(addsuffix /cublasLt.h,$(if $(CUBLAS_HOME),$(CUBLAS_HOME)/include) $(CUBLAS_CUDA))))
ifneq ($(and $(CUBLAS_HEADER),$(CUDA_HOME)),)
tests: $(BUILD)/tests/blas_interface.o
endif
$(BUILD)/tests/blas_interface.o: tests/cuda/blas_interface.c kernels/cuda/cuda_blas.h
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(CC) -std=c11 -Wall -Wextra -Werror -Wno-missing-prototypes -I. -isystem $(dir $(CUBLAS_HEADER)) \
	  -isystem $(CUBLAS_CUDA) -c -o $@ $<

# The program itself over an emulated GPU, for tests of what happens when that fails.
EMULATED_PARTS := $(CUDA_HOST_OBJECTS) $(addprefix $(BUILD)/obj/cuda-host/,probe.o emulated_backend.o)
$(BUILD)/tests/dbrx-ls-emulated: $(MAIN) $(EMULATED_PARTS) $(LIBRARY)
	@mkdir -p $(@D)
	@echo "link $@"
	$(Q)$(CC) $(SANITIZE) -o $@ $(MAIN) $(EMULATED_PARTS) $(LIBRARY) $(LIBS) -lstdc++
tests: $(BUILD)/tests/dbrx-ls-emulated

# On a machine with a GPU, none of whose packages need be ours: gpu_check.py says what is asked of it.
.PHONY: gpu-check bench-cuda
gpu-check:
	@python3 tests/cuda/gpu_check.py

# The synthetic bench alone, from nvcc and libc: build/gpu/bench-cuda.
bench-cuda:
	@python3 tests/cuda/gpu_build.py bench-cuda
