# requirements.txt without torch's wheel for CUDA and all that comes with it alone; with -v only=1 the
# names and versions of torch and torchvision, without hashes.
/^[a-z0-9]/ {
    torch = $0 ~ /^(torch|torchvision)==/
    cuda = $0 ~ /^(triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==/ && $0 !~ /^nvidia-ml-py==/
    if (only && torch) print $1
}
!only && !torch && !cuda
