# The CUDA backend for real: where nvcc is found and CUDA=0 is not said. The runtime is linked
# statically; it looks for the driver when the program runs, so one binary serves every machine.

NVCC      ?= $(shell command -v nvcc 2>/dev/null)
CUDA_SKIP := $(or $(filter 0,$(CUDA)),$(if $(SANITIZE),1),$(if $(NVCC),,1))

# What was built with the one answer is built again with the other.
.PHONY: cuda-state
$(BUILD)/cuda.state: cuda-state
	@mkdir -p $(@D)
	@echo '$(if $(CUDA_SKIP),without,with)' | cmp -s - $@ || echo '$(if $(CUDA_SKIP),without,with)' >$@
$(BUILD)/obj/kernels/cuda/cuda_backend.o: $(BUILD)/cuda.state

ifeq ($(CUDA_SKIP),)
CUDA_HOME    := $(shell $(NVCC) --dryrun -x cu -c /dev/null -o /dev/null 2>&1 | sed -n 's/^.* TOP=//p')
CUDA_LIB     := $(firstword $(foreach d,lib64 lib targets/x86_64-linux/lib targets/sbsa-linux/lib,$(dir $(wildcard $(CUDA_HOME)/$(d)/libcudart_static.a))))
CUDA_SOURCES := $(wildcard kernels/cuda/*.cu)
CUDA_OBJECTS := $(CUDA_SOURCES:%.cu=$(BUILD)/obj/%.cu.o)
OBJECTS      += $(CUDA_OBJECTS)
LIBS         += -L$(CUDA_LIB) -lcudart_static -lstdc++ -ldl -lrt
CFLAGS_CUDA  := -DDBRX_CUDA

# Machine code for every card from Ampere on, code that later cards translate, and Hopper's own.
NVCC_FLAGS := -std=c++17 -O3 -lineinfo -I. -Xptxas -v \
              -gencode arch=compute_80,code=[sm_80,compute_80] -gencode arch=compute_90a,code=sm_90a \
              -Xcompiler -Wall,-Wextra,-Wno-unused-function

$(BUILD)/obj/kernels/cuda/cuda_backend.o: CFLAGS_ALL += $(CFLAGS_CUDA)

$(BUILD)/obj/%.cu.o: %.cu | kernels/cuda/resources.py
	@mkdir -p $(@D)
	@echo "nvcc $<"
	$(Q)$(NVCC) $(NVCC_FLAGS) -MD -MP -MF $(@:.o=.d) -MT $@ -c -o $@ $< >$(@:.o=.log) 2>&1 || \
	  { cat $(@:.o=.log); rm -f $@; exit 1; }
	$(Q)grep -q 'ptxas info.*Used' $(@:.o=.log) || exit 0; python3 kernels/cuda/resources.py check $(@:.o=.log) || \
	  { rm -f $@; exit 1; }

-include $(CUDA_OBJECTS:.o=.d)

.PHONY: cuda-resources
cuda-resources: $(CUDA_OBJECTS)
	@python3 kernels/cuda/resources.py table $(CUDA_OBJECTS:.o=.log)
endif
