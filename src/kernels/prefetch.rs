//! Asking memory for what will be read soon.

/// Bytes that come from memory at once.
const LINE: usize = 64;

/// Has the processor fetch all of `numbers` into its second-level cache while it goes on. Processors foresee reading
/// on by themselves, but only to the end of a page of 4 KiB.
pub(super) fn prefetch<T>(numbers: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in numbers.chunks((LINE / size_of::<T>()).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

        // SAFETY: the address is one of a slice; and nothing is asked of it, since this reads nothing.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}
