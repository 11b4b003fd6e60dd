"""The recorder below torch: a profiler plugin for NCCL, in C, and what builds and tries it."""
